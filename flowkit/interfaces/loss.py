"""What training regresses, and how it weighs the times."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditions import Condition
from .path import Path

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Loss", "Weighting"]


class Loss(ABC):
    """A regression of a conditional quantity of the path by the model."""

    @abstractmethod
    def __call__(
        self,
        model: "Model",
        x0: Tensor,
        z: Tensor,
        y: Condition = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss of each sample, shape (batch,), at times that the loss draws.

        Arguments:
            model: What is trained; its path gives x_t and the targets.
            x0: Draws of p_init, shape (batch, *event).
            z: Data points, shape (batch, *event).
            y: The conditions, or None.
            generator: The source of the times.
        """

    def problems(self, model: "Model") -> list[str]:
        """Why this loss cannot train that model; asked when a pipeline is built."""
        del model
        return []


class Weighting(ABC):
    """The weight of a loss at each time."""

    @abstractmethod
    def weight(self, t: Tensor, path: Path) -> Tensor:
        """lambda(t) >= 0, shape (batch,) for t of shape (batch,)."""

    def problems(self, path: Path) -> list[str]:
        """Why this weighting does not go with that path; asked when a pipeline is built."""
        del path
        return []
