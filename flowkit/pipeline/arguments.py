"""What callers of a pipeline ask for, checked in words."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..interfaces.callback import Callback
from ..interfaces.data import DataSpec

__all__ = ["Labels", "check_callbacks", "read_labels", "room_for", "whole_number"]

Labels = int | str | Sequence[int] | Sequence[str] | Tensor
"""Class indices, or the names of classes."""


def whole_number(what: str, value: Any) -> int:
    """A whole number of at least 0 of any type, such as numpy's, as an int.

    Raises:
        ConfigError: It is none.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(f"{what} should be a whole number of at least 0; got {value!r}")
    return number


def check_callbacks(callbacks: Any) -> None:
    """Refuse what is no list of callbacks before a folder is touched: what a run replaces is lost by then.

    Raises:
        ConfigError: They are not.
    """
    if not isinstance(callbacks, Sequence) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise ConfigError(f"callbacks should be a list of objects, such as [fk.ProgressBar()]; got {callbacks!r}")


def read_labels(n: int, y: Labels | None, spec: DataSpec) -> Tensor | None:
    """The labels of n samples: those asked for, or the classes in turn; int64 of shape (n,).

    Arguments:
        n: How many samples.
        y: One label for all, or one for each: the name of a class, or its index; -1 for none.
        spec: What classes there are.

    Raises:
        ConfigError: They are not such labels.
    """
    classes = spec.num_classes
    if classes is None:
        if y is not None:
            raise ConfigError("labels were asked for, but the data of this model have none")
        return None
    if y is None:
        return torch.arange(n) % classes
    try:
        labels = torch.as_tensor(_without_names(y, spec.class_names))
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(f"{_wanted(spec)}; got {y!r}") from None
    if labels.is_floating_point():
        raise ConfigError(f"{_wanted(spec)}; got {y!r}")
    labels = labels.long().expand(n) if labels.ndim == 0 else labels.long()
    if labels.shape != (n,):
        raise ConfigError(f"{n} samples need {n} labels or one; got {tuple(labels.shape)}")
    if bool(((labels < -1) | (labels >= classes)).any()):
        raise ConfigError(f"labels go from 0 to {classes - 1} (-1: none); got {labels.unique().tolist()}")
    return labels


def _wanted(spec: DataSpec) -> str:
    names = f", or names of classes ({', '.join(spec.class_names)})" if spec.class_names else ""
    return f"labels should be whole numbers, -1 for none{names}"


def _without_names(y: Any, names: Sequence[str]) -> Any:
    """Labels with the index of every class that is called by its name."""
    if isinstance(y, str):
        if names and y not in names:
            raise ConfigError(f"there is no class {y!r}; the classes are {', '.join(names)}")
        return names.index(y) if names else y
    if isinstance(y, np.ndarray) and y.dtype.kind in "UO":
        y = y.tolist()
    return [_without_names(label, names) for label in y] if isinstance(y, list | tuple) else y


def room_for(n: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory for n samples, which are part of a tensor of this shape.

    Raises:
        ConfigError: There is not that much.
    """
    try:
        return torch.empty(shape, dtype=dtype)
    except RuntimeError:
        size = math.prod(shape) * dtype.itemsize / 2**30
        raise ConfigError(f"{n} samples take {size:.0f} GiB of memory, more than there is: draw fewer") from None
