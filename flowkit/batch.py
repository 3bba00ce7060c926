"""Data points with their conditions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .conditions import Condition

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some data points z, shape (n, *event), and their conditions y; `z, y = batch` takes both.

    Arguments:
        z: The data points.
        y: Their conditions.
        x0: Where the path to each z starts, shape (n, *event), for data that come in pairs (x0, z).
    """

    z: Tensor
    y: Condition = None
    x0: Tensor | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.z, self.y))
