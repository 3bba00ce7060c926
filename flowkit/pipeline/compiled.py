"""The model that samples are drawn from where `sampling.compile` says to compile its network."""

import warnings
from typing import cast

import torch
from torch import Tensor, nn

from ..compiler import NO_COMPILER, cxx_compiler, graph_options, in_a_line
from ..conditions import Condition
from ..errors import FlowkitWarning
from ..interfaces.quantity import Quantity
from ..model import Model
from ..shapes import Time
from .memory import is_out_of_memory

__all__ = ["CompiledModel", "compiled"]


def compiled(model: Model, before: "CompiledModel | None" = None) -> "CompiledModel":
    """A twin of the model whose network is compiled.

    Arguments:
        model: The model.
        before: The twin of an earlier call; it is returned if it is one of this model as it is now.
    """
    twin = before if before is not None and before.is_of(model) else CompiledModel(model)
    twin.data_mean = model.data_mean  # moving a model replaces it
    return twin


class CompiledModel(Model):
    """A model that shares all it has with another, and calls the network by `torch.compile`.

    The other one is left as it is, with the names of its weights, and what it learns or loads is seen here. A network
    is compiled at its first call, and once more for batches of any other size; a CUDA device is given the work of a
    call as one graph. What cannot be compiled is called as it is, after a warning.

    Arguments:
        model: The other one.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model.network, model.head, model.path)
        self.eager, self.plain, self.device = model, model.network, model.data_mean.device
        if cxx_compiler() is None:
            _tell(f"{NO_COMPILER}; the network is called as it is")
            return
        try:
            self.network = _compiled(model.network, self.device)
        except RuntimeError as error:  # not with this version of Python
            _tell(_cannot(error))

    def is_of(self, model: Model) -> bool:
        """Whether it is a twin of that model, with the network that it has now and where it is now."""
        return self.eager is model and self.plain is model.network and self.device == model.data_mean.device

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields at (x, t) from one call of the network. See `Predictor.predict`."""
        if self.network is self.plain:
            return super().predict(x, t, y, wanted)
        try:
            return super().predict(x, t, y, wanted)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = _cannot(error)
        found = self.eager.predict(x, t, y, wanted)  # an error of the model itself comes up again
        self.network = self.plain
        _tell(reason)
        return found


class _Graphed(nn.Module):
    """A compiled network whose outputs stay when it is called again."""

    def __init__(self, compiled: nn.Module) -> None:
        super().__init__()
        self.compiled = compiled

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        output: Tensor = self.compiled(x, t, y)
        return output.clone()


def _compiled(network: nn.Module, device: torch.device) -> nn.Module:
    options = graph_options(device)
    compiled = cast(nn.Module, torch.compile(network, fullgraph=True, options=options or None))
    return _Graphed(compiled) if options else compiled


def _cannot(error: Exception) -> str:
    return f"this network cannot be compiled and is called as it is: {in_a_line(error)}"


def _tell(reason: str) -> None:
    warnings.warn(f"sampling.compile: {reason}", FlowkitWarning, stacklevel=3)
