"""A network with a time of its own and a call of its own, behind flowkit's `forward(x, t, y)`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from flowkit import Condition, UnsupportedError

__all__ = ["Call", "ForeignNetwork"]

Call = Callable[[nn.Module, Tensor, Tensor, Condition], Tensor]
"""How a network is called: `call(network, x, time, y)`, with its own time of shape (batch,)."""


class ForeignNetwork(nn.Module):
    r"""The output at flowkit's time t of a network whose time is $\tau = \text{scale} \cdot s + \text{offset}$.

    Here s = t if its data are at 1, and s = 1 - t if they are at 0. Below 0 it is not asked: the timestep after the
    last one of a discrete chain is the last one.

    Arguments:
        network: The network.
        call: How it is called.
        data_at_0: Whether its data are at s = 0.
        scale: Its times to one of ours.
        offset: What it counts from.
        whole: Whether it knows whole numbers only, as int64.
        sign: What its output is multiplied with: -1 for a velocity along 1 - t.
        no_label: The label that it has for "none", in place of -1 and of y = None.
    """

    def __init__(
        self,
        network: nn.Module,
        call: Call,
        data_at_0: bool = False,
        scale: float = 1.0,
        offset: float = 0.0,
        whole: bool = False,
        sign: float = 1.0,
        no_label: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.call, self.data_at_0 = network, call, data_at_0
        self.scale, self.offset, self.whole, self.sign = scale, offset, whole, sign
        self.no_label = no_label

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """What the network says at (x, t), shape (batch, *event), in the type of x.

        Raises:
            UnsupportedError: There is a `no_label`, and the condition is not one of labels.
        """
        y = y if self.no_label is None else _labels(y, x, self.no_label)
        out = self.call(self.network, x, self.time(t), y).to(x.dtype)
        return out if self.sign == 1 else self.sign * out

    def time(self, t: Tensor) -> Tensor:
        """The network's time, shape (batch,): int64 if it is whole, else of the type of t."""
        time = (self.scale * (1 - t if self.data_at_0 else t) + self.offset).clamp(min=0)
        return time.round().long() if self.whole else time


def _labels(y: Condition, x: Tensor, no_label: int) -> Tensor:
    """The labels in the network's manner, shape (batch,)."""
    if y is None:
        return torch.full((len(x),), no_label, device=x.device)
    if isinstance(y, Mapping) or y.is_floating_point():
        raise UnsupportedError("no_label is for conditions that are integer labels: give `wrap` a `call` instead")
    return torch.where(y < 0, no_label, y)
