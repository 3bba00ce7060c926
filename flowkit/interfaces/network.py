"""The neural network, and the values that only the build knows."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from ..conditions import Condition

__all__ = ["Network"]


class _AnyModule(type(ABC)):  # type: ignore[misc]
    """Lets every `nn.Module` count as a network."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, nn.Module)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, nn.Module)


class Network(metaclass=_AnyModule):
    """Any `nn.Module` with `forward(x, t, y=None)`; subclassing this one is not needed.

    It takes x of shape (batch, *event), t of shape (batch,) and the condition y, and returns
    (batch, k * event[0], *event[1:]) where the head asks for k outputs, side by side on the first event axis. The
    output has the type of x; t has it too, and is float32 at least: what is made of it is cast, `.to(x.dtype)`.

    A constructor parameter annotated `flowkit.EventShape`, `flowkit.Outputs` or `flowkit.NumClasses` is
    filled in when the pipeline is built. A conditional network treats a label of -1 as "no label"; that is
    what classifier-free guidance trains and asks for.
    """

    @abstractmethod
    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """The raw output."""
