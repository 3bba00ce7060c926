"""What an optimizer step does to the weights, with little Python around it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

__all__ = ["FusedUpdate"]

Row = tuple[Tensor, Tensor, Tensor, Tensor]
"""A parameter, its mean gradient, its mean square, its number of steps."""


class FusedUpdate:
    r"""`clip_grad_norm_`, `AdamW.step` and `zero_grad` in one pass over the weights.

    The same arithmetic, but for the order in which squares are summed: with the norm |g| over all gradients and the
    limit c, Adam is given $g / \max(1, |g|/c)$. A small network spends a third of a step in those three calls, most of
    it in Python; the fused kernel of Adam divides by a scale anyhow, and its lists of tensors need no making anew.

    Arguments:
        optimizer: Whose settings and state are used, so that its `state_dict` stays what is saved.
        parameters: All that it holds.
        clip: The largest norm of the gradient, or None.
    """

    def __init__(self, optimizer: torch.optim.AdamW, parameters: Sequence[Tensor], clip: float | None) -> None:
        self.optimizer, self.parameters, self.clip = optimizer, parameters, clip
        self._rows: list[Row] | None = None

    @torch.no_grad()
    def __call__(self, rate: float) -> None:
        """Take a step at this learning rate along the gradients, and forget them."""
        used = [row for row in self._all_rows() if row[0].grad is not None]
        if not used:
            return
        parameters, means, squares, steps = _columns(used)
        gradients = [gradient for parameter in parameters if (gradient := parameter.grad) is not None]
        settings = self.optimizer.param_groups[0]
        settings["lr"] = rate
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            grad_scale=None if self.clip is None else self._excess(gradients, self.clip),
            amsgrad=False,
            beta1=settings["betas"][0],
            beta2=settings["betas"][1],
            lr=rate,
            weight_decay=settings["weight_decay"],
            eps=settings["eps"],
            maximize=False,
        )
        for parameter in parameters:
            parameter.grad = None

    def rows(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """The parameters and what AdamW keeps for each: mean gradients, mean squares, steps."""
        return _columns(self._all_rows())

    def _all_rows(self) -> list[Row]:
        if self._rows is None:  # not before it is needed: a checkpoint brings other tensors
            self._rows = [self._row(parameter) for parameter in self.parameters]
        return self._rows

    def _row(self, parameter: Tensor) -> Row:
        state = self.optimizer.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return parameter, state["exp_avg"], state["exp_avg_sq"], state["step"]

    @staticmethod
    def _excess(gradients: list[Tensor], clip: float) -> Tensor:
        """max(1, |g|/c), without waiting for the device."""
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        return (norm / clip).clamp(min=1.0)


def _columns(rows: Sequence[Row]) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    parameters, means, squares, steps = map(list, zip(*rows, strict=True))
    return parameters, means, squares, steps
