"""What every formula over a batch needs: times against states, and a look at whether something holds."""

import torch
from torch import Tensor

__all__ = ["Time", "batch_times", "expand_time", "holds_anywhere", "time_tensor"]

Time = float | Tensor
"""A time in [0, 1]: one number for the whole batch, or a tensor of shape (batch,)."""


def expand_time(value: Tensor, x: Tensor) -> Tensor:
    """Reshape a coefficient so that it multiplies a state.

    Arguments:
        value: Shape () or (batch,).
        x: Shape (batch, *event).

    Returns:
        `value` with shape () or (batch, 1, ..., 1), in the dtype of `x`, and on its device
        unless it is one number.
    """
    if value.ndim:
        value = value.reshape(-1, *(1,) * (x.ndim - 1)).to(x.device)
    return value.to(x.dtype)


def holds_anywhere(where: Tensor | bool) -> bool:
    """Whether something holds anywhere in a batch, as far as looking costs nothing.

    On an accelerator nobody looks, which would wait for it, nor amid compilation: it is False there. What is refused
    for that reason is so where it matters, for samplers pass one time as a number, which is looked at on the CPU, and
    training draws times from the open interval.

    Arguments:
        where: bool, of any shape.
    """
    if not isinstance(where, Tensor):
        return where
    return where.device.type == "cpu" and not torch.compiler.is_compiling() and bool(where.any())


def time_tensor(t: Time) -> Tensor:
    """A time as schedules take it: a tensor as it is, and one number as float64 of shape ()."""
    return t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)


def batch_times(t: Time, x: Tensor) -> Tensor:
    """The time as networks take it: shape (batch,), on the device of `x`. One number is expanded, so read-only.

    Its dtype is that of `x`, and float32 at least: bfloat16 does not tell the timestep 333 of 1000 from 336.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    if isinstance(t, Tensor) and t.ndim:
        return t.to(x.device, dtype)
    return torch.full((1,), float(t), dtype=dtype, device=x.device).expand(len(x))
