"""Times against states: the two broadcasts that every formula over a batch needs."""

from torch import Tensor

__all__ = ["Time", "batch_times", "expand_time"]

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


def batch_times(t: Time, x: Tensor) -> Tensor:
    """The time as networks take it: shape (batch,), dtype and device of `x`. One number is expanded, so read-only."""
    if isinstance(t, Tensor) and t.ndim:
        return t.to(x)
    return x.new_full((1,), float(t)).expand(len(x))
