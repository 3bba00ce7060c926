"""Times: how training draws them, and where sampling steps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from .path import Path

if TYPE_CHECKING:
    from ..dynamics import Dynamics

__all__ = ["TimeGrid", "TimeSampler"]


class TimeSampler(ABC):
    """The distribution of t in a training batch, on the open interval (0, 1)."""

    @abstractmethod
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """`n` times, shape (n,).

        Arguments:
            n: How many.
            generator: The only source of randomness.
            device: Where the times go; the generator lives there.
            dtype: Their type.
            path: The path in training, for a distribution of its noise levels.
        """

    def corrected(self, t: Tensor, loss: Tensor) -> Tensor:
        """The losses at times that `sample` has drawn, as they count in the mean: shape (batch,).

        They count as they are: the distribution of t is part of what is minimised. A sampler that draws some times more
        often only to lower the variance divides by its density, so that the mean is that of uniform times; it may
        learn from the losses that it sees here.
        """
        del t
        return loss

    def problems(self, path: Path) -> list[str]:
        """Why these times do not go with that path; asked when a pipeline is built."""
        del path
        return []

    def state(self) -> dict[str, Tensor]:
        """What it has learned so far; checkpoints keep it."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to where `state` was taken."""
        del state


class TimeGrid(ABC):
    """The times at which a sampler steps."""

    own_steps: ClassVar[bool] = False
    """Whether its settings are the times themselves, so that a number of steps makes no difference."""

    @abstractmethod
    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """Strictly increasing times in [0, 1], float64 of shape (steps + 1,), on the CPU; as many as it has if it has
        `own_steps`.
        """

    def fitted(self, ode: "Dynamics", x: Tensor) -> "TimeGrid":
        """The grid for the model at hand, for one that looks at the model; most do not, and stay as they are.

        Arguments:
            ode: The probability-flow ODE that is sampled.
            x: States at the first time of the grid, shape (batch, *event), to send pilots from.
        """
        del ode, x
        return self

    def problems(self, path: Path) -> list[str]:
        """Why this grid does not go with that path; asked when a pipeline is built."""
        del path
        return []
