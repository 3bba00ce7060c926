"""What training regresses, and how it weighs the times."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..conditions import Condition
from .path import Path
from .predictor import Predictor
from .quantity import Quantity

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["Loss", "Weighting"]


class Loss(ABC):
    """A regression of a conditional quantity of the path by the model."""

    exact: Predictor | None = None
    """The marginal field that it regresses, if it is given one in place of the conditional quantity."""

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
            generator: The source of the times. What is drawn through `flowkit.draw` or `randn_like` is the same in
                whatever shares processes, or pieces in turn, take the batch.
        """

    def problems(self, model: "Model") -> list[str]:
        """Why this loss cannot train that model; asked when a pipeline is built."""
        del model
        return []

    def state(self) -> dict[str, Tensor]:
        """What changes in training beside the model, such as that of a learning `TimeSampler`; checkpoints keep it."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to where `state` was taken."""
        del state


class Weighting(ABC):
    r"""The weight of a loss at each time.

    On a path that converts quantities, the squared errors of all of them differ only by a factor that depends on t: a
    weight of one error is some other weight of another. So a weighting says whose error it is a weight of, and a loss
    that regresses something else asks for `weight_on` that.
    """

    of: ClassVar[Quantity | None] = None
    """Whose squared error it weighs; None for that of whatever a loss regresses."""

    @abstractmethod
    def weight(self, t: Tensor, path: Path) -> Tensor:
        """lambda(t) >= 0, shape (batch,) for t of shape (batch,) in the open interval (0, 1)."""

    def weight_on(self, quantity: Quantity, t: Tensor, path: Path) -> Tensor:
        r"""The weight on the squared error of `quantity` that amounts to lambda(t) on that of `of`.

        $$\lambda(t) \left(\frac{\partial\, \mathrm{of}}{\partial\, \mathrm{quantity}}\right)^2,$$

        shape (batch,).
        """
        weight = self.weight(t, path)
        if self.of is None or self.of is quantity:
            return weight
        return weight * path.slope(t, quantity, self.of).square()

    def problems(self, path: Path) -> list[str]:
        """Why this weighting does not go with that path; asked when a pipeline is built."""
        del path
        return []
