"""Conditions y, and what "no condition" looks like inside a batch.

A condition is a tensor with a leading batch axis, a mapping of such tensors, or None. For classifier-free
guidance a network learns with and without its condition; a sample without one carries -1 where the
condition is an integer and NaN where it is real.
"""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from .errors import UnsupportedError

__all__ = [
    "Condition",
    "concat_conditions",
    "drop_condition",
    "no_condition",
    "select_condition",
    "to_device",
]

Condition: TypeAlias = Tensor | Mapping[str, Tensor] | None


def drop_condition(y: Condition, drop: Tensor) -> Condition:
    """The condition with some samples' values replaced by "none".

    Arguments:
        y: The conditions of a batch.
        drop: Which samples lose theirs, bool of shape (batch,).
    """
    if y is None:
        return None
    if isinstance(y, Mapping):
        return {key: _drop(value, drop) for key, value in y.items()}
    return _drop(y, drop)


def no_condition(y: Condition) -> Condition:
    """A condition like `y` in which every sample has none."""
    if y is None:
        return None
    if isinstance(y, Mapping):
        return {key: torch.full_like(value, _none_of(value)) for key, value in y.items()}
    return torch.full_like(y, _none_of(y))


def concat_conditions(first: Condition, second: Condition) -> Condition:
    """Two batches of conditions, one after the other."""
    if first is None or second is None:
        return None
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {key: torch.cat([first[key], second[key]]) for key in first}
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    return torch.cat([first, second])


def select_condition(y: Condition, index: Tensor | slice) -> Condition:
    """The conditions of some samples."""
    if isinstance(y, Mapping):
        return {key: value[index] for key, value in y.items()}
    return None if y is None else y[index]


def to_device(y: Condition, device: torch.device | str) -> Condition:
    """The condition on a device."""
    if isinstance(y, Mapping):
        return {key: value.to(device) for key, value in y.items()}
    return None if y is None else y.to(device)


def _drop(value: Tensor, drop: Tensor) -> Tensor:
    drop = drop.reshape(-1, *(1,) * (value.ndim - 1))
    return torch.where(drop, torch.full_like(value, _none_of(value)), value)


def _none_of(value: Tensor) -> float:
    if value.is_floating_point():
        return float("nan")
    if not value.dtype.is_signed:
        raise UnsupportedError(f"a condition of type {value.dtype} has no value for 'none': use int64 or a float type")
    return -1
