"""The model that samples are drawn from where `sampling.compile` says to compile its network."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

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

    def predict(
        self, x: Tensor, t: Time, y: Condition, wanted: Iterable[Quantity | str] | Quantity | str
    ) -> tuple[Tensor, ...]:
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


class _Direct(nn.Module):
    """A compiled network, whose code for batches like the first is called without Dynamo.

    `torch.compile` looks at every Python frame of a call, which costs some tens of microseconds, much of a small
    network's evaluation. Code compiled ahead of the first call is only asked whether it fits. Batches that it does not
    fit, and networks that cannot be compiled like this, go the usual way.
    """

    def __init__(self, network: nn.Module, options: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.options, self.usual = network, options, _usual(network, options)
        self.asked, self.ahead = False, cast(Any, None)

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        code: Callable[..., Tensor] = self.usual
        if not self.network.training:  # which the code ahead takes no heed of
            if not self.asked:
                self.asked, self.ahead = True, self._compiled_ahead(x, t, y)
            if self.ahead is not None:
                if self.ahead.guard_check(self, x, t, y):
                    code = partial(self.ahead, self)
                else:
                    _of_any_size(x, t, y)
        return code(x, t, y)

    def _compiled_ahead(self, x: Tensor, t: Tensor, y: Condition) -> Any:
        try:
            call = cast(Any, torch.compile(self._call, fullgraph=True, options=self.options))
            code = call.aot_compile(((x, t, y), {}))
        except Exception:  # the usual way meets it too, or can do without
            return None
        code.disable_guard_check()  # which `forward` makes
        return code

    def _call(self, x: Tensor, t: Tensor, y: Condition) -> Tensor:
        output: Tensor = self.network(x, t, y)
        return output


def _of_any_size(x: Tensor, t: Tensor, y: Condition) -> None:
    """Have a network compiled for batches of any size at once, rather than for this one and then for any."""
    from torch._dynamo import maybe_mark_dynamic

    for tensor in (x, t, *(y.values() if isinstance(y, Mapping) else () if y is None else (y,))):
        maybe_mark_dynamic(tensor, 0)


def _usual(network: nn.Module, options: dict[str, Any]) -> nn.Module:
    return cast(nn.Module, torch.compile(network, fullgraph=True, options=options))


def _cpu_options(device: torch.device) -> dict[str, Any]:
    if device.type != "cpu" or torch.__version__ < "2.11":  # the oldest that compiled steps are for
        return {}
    from .separate_bias import SeparateBias  # imports the compiler

    return {"post_grad_custom_post_pass": SeparateBias()}


def _compiled(network: nn.Module, device: torch.device) -> nn.Module:
    if options := graph_options(device):
        return _Graphed(_usual(network, options))
    return _Direct(network, _cpu_options(device))


def _cannot(error: Exception) -> str:
    return f"this network cannot be compiled and is called as it is: {in_a_line(error)}"


def _tell(reason: str) -> None:
    warnings.warn(f"sampling.compile: {reason}", FlowkitWarning, stacklevel=3)
