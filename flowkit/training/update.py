"""What a step does to the weights along their gradients: clipping, AdamW, and forgetting the gradients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import DynamoBackend
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["AcceleratedUpdate", "FusedUpdate", "Update", "wraps_nothing"]

Row = tuple[Tensor, Tensor, Tensor, Tensor]
"""A parameter, its mean gradient, its mean square, its number of steps."""

_KEPT = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps for a parameter, by its names."""


def wraps_nothing(accelerator: Accelerator) -> bool:
    """Whether Accelerate would give a network back as it is.

    To find that out itself, it imports what only other launches need, which takes longer than many a first step.
    """
    compiles = accelerator.state.dynamo_plugin.backend is not DynamoBackend.NO
    return not compiles and accelerator.distributed_type is DistributedType.NO and accelerator.mixed_precision == "no"


class Update(ABC):
    """Takes a step along the gradients, and keeps what AdamW keeps for every parameter.

    Arguments:
        parameters: What is trained.
        clip: The largest norm of the gradient, or None.
        weight_decay: Decoupled, as in AdamW.
    """

    def __init__(self, parameters: Sequence[Tensor], clip: float | None, weight_decay: float) -> None:
        self.parameters, self.clip, self.weight_decay = parameters, clip, weight_decay

    def prepare(self, accelerator: Accelerator, network: nn.Module) -> nn.Module:
        """What Accelerate wraps around the network."""
        if wraps_nothing(accelerator):
            return network
        wrapped: nn.Module = accelerator.prepare(network)
        return wrapped

    @abstractmethod
    def __call__(self, rate: float) -> None:
        """Take a step at this learning rate along the gradients, and forget them."""

    @abstractmethod
    def state(self) -> list[dict[str, Tensor]]:
        """What AdamW keeps for each parameter, as its `state_dict` names it."""

    @abstractmethod
    def restore(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Go back to where `state` was taken."""


class AcceleratedUpdate(Update):
    """`torch.optim.AdamW` under Accelerate, where losses are scaled, or the device has no kernel for all of it."""

    def __init__(self, parameters: Sequence[Tensor], clip: float | None, weight_decay: float) -> None:
        super().__init__(parameters, clip, weight_decay)
        fused = all(parameter.device.type in ("cpu", "cuda", "mps") for parameter in parameters) or None
        self.optimizer: Any = torch.optim.AdamW(parameters, weight_decay=weight_decay, fused=fused)

    def prepare(self, accelerator: Accelerator, network: nn.Module) -> nn.Module:
        """The wrapped network; the optimizer is wrapped too, and clipping is Accelerate's."""
        self._clip = accelerator.clip_grad_norm_
        wrapped, self.optimizer = accelerator.prepare(network, self.optimizer)
        return wrapped

    def __call__(self, rate: float) -> None:
        """Take a step."""
        if self.clip is not None:
            self._clip(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> list[dict[str, Tensor]]:
        """What AdamW keeps."""
        kept = self.optimizer.state_dict()["state"]
        return [
            {key: torch.as_tensor(value) for key, value in kept.get(index, {}).items()}
            for index in range(len(self.parameters))
        ]

    def restore(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Go back."""
        entries = {index: dict(kept) for index, kept in enumerate(state) if kept}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": entries})


class FusedUpdate(Update):
    r"""`clip_grad_norm_`, `AdamW.step` and `zero_grad` in one pass over the weights.

    The same arithmetic, but for the order in which squares are summed: with the norm |g| over all gradients and the
    limit c, Adam is given $g / \max(1, |g|/c)$. A small network spends a third of a step in those three calls, most of
    it in Python; the fused kernel of Adam divides by a scale anyhow, and its lists of tensors need no making anew. Nor
    does it wait for what an object of `torch.optim` imports, which takes longer than many a first step.

    References:
        Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2. https://arxiv.org/abs/1711.05101
    """

    betas, eps = (0.9, 0.999), 1e-8

    def __init__(self, parameters: Sequence[Tensor], clip: float | None, weight_decay: float) -> None:
        super().__init__(parameters, clip, weight_decay)
        self._rows: list[Row] | None = None

    @torch.no_grad()
    def __call__(self, rate: float) -> None:
        """Take a step at this learning rate along the gradients, and forget them."""
        used = [row for row in self._all_rows() if row[0].grad is not None]
        if not used:
            return
        parameters, means, squares, steps = _columns(used)
        gradients = [gradient for parameter in parameters if (gradient := parameter.grad) is not None]
        # max(1, |g|/c), without waiting for the device
        excess = None if self.clip is None else (self._norm(parameters, gradients) / self.clip).clamp(min=1.0)
        if excess is not None and excess.dtype is torch.float64:  # the kernel takes a scale in float32 alone
            torch._foreach_div_(gradients, excess)
            excess = None
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            grad_scale=None if excess is None else excess.float(),
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=rate,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )
        for parameter in parameters:
            parameter.grad = None

    def rows(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """The parameters and what AdamW keeps for each: mean gradients, mean squares, steps."""
        return _columns(self._all_rows())

    def state(self) -> list[dict[str, Tensor]]:
        """What AdamW keeps for each parameter, as its `state_dict` names it."""
        return [dict(zip(_KEPT, kept, strict=True)) for _, *kept in self._all_rows()]

    @torch.no_grad()
    def restore(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Go back to where `state` was taken."""
        for row, saved in zip(self.state(), state, strict=True):
            for key, value in saved.items():
                row[key].copy_(value)

    def _all_rows(self) -> list[Row]:
        if self._rows is None:
            self._rows = [
                (p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device)) for p in self.parameters
            ]
        return self._rows

    def _norm(self, parameters: list[Tensor], gradients: list[Tensor]) -> Tensor:
        """|g| over all gradients."""
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def _columns(rows: Sequence[Row]) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    parameters, means, squares, steps = map(list, zip(*rows, strict=True))
    return parameters, means, squares, steps
