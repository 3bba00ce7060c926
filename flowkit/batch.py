"""Data points with their conditions."""

from typing import NamedTuple

from torch import Tensor

from .conditions import Condition

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Some data points z, shape (n, *event), and their conditions y."""

    z: Tensor
    y: Condition = None
