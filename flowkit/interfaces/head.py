"""The head: what a network's raw output means."""

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..conditions import Condition
from .path import Path
from .quantity import Quantity

__all__ = ["Head"]


class Head(ABC):
    """Names the quantities that a network's outputs are.

    Most heads are nothing but that declaration; one that preconditions (EDM) overrides `predict`.

    Examples:
        >>> class JointHead(Head):
        ...     quantities = (Quantity.VELOCITY, Quantity.SCORE)
    """

    quantities: ClassVar[tuple[Quantity, ...]]
    """What the network's outputs are, in order along the first event axis."""

    @property
    def outputs(self) -> int:
        """How many event-shaped outputs the network must have."""
        return len(self.quantities)

    def problems(self, path: Path) -> list[str]:
        """Why this head does not go with that path; asked when a pipeline is built."""
        del path
        return []

    def predict(
        self, network: nn.Module, x: Tensor, t: Tensor, y: Condition = None, path: Path | None = None
    ) -> dict[Quantity, Tensor]:
        """Call the network and name what it returns.

        Arguments:
            network: Maps (x, t, y) to shape (batch, outputs * event[0], *event[1:]).
            x: Shape (batch, *event).
            t: Shape (batch,), float32 at least.
            y: The conditions, or None.
            path: The path of the model, for a head whose scales are those of the path.

        Returns:
            One tensor of shape (batch, *event) for each of `quantities`.
        """
        del path
        raw = network(x, t, y)
        if self.outputs == 1:
            return {self.quantities[0]: raw}
        return dict(zip(self.quantities, torch.chunk(raw, self.outputs, dim=1), strict=True))
