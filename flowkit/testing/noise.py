"""Noise under control: impulses instead of noise, and one Brownian path for every step length."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..random import BlockGenerator
from .check import seeded

__all__ = ["Brownian", "Impulses"]


class Impulses(BlockGenerator):
    """No noise in row 0, and each element that is drawn is 1 in one row alone, from row `first` on.

    Where steps are affine in the state and the noise, the result is x[0] + the sum over i of (x[i] - x[0]) xi_i: its
    mean is x[0] and its variance the sum of the squares, with no chance in them. For events of one element.

    Arguments:
        rows: How many rows there are. More draws than that are counted in `next`, and have no impulse.
        first: The first of them that noise goes to.
    """

    def __init__(self, rows: int, first: int) -> None:
        self.rows, self.next = rows, first

    def draw(self, function: Callable[[int, torch.Generator], Tensor], numbers: int = 1) -> Tensor:
        """Zeros, and one 1."""
        noise = torch.zeros_like(function(self.rows, seeded(0)))
        if self.next < self.rows:
            noise[self.next] = 1
        self.next += 1
        return noise


class Brownian(BlockGenerator):
    """The same Brownian path for every step length: each draw merges some draws of one stream.

    The sum of m normal increments over h is the increment over m h; divided by the root of m, it is standard again.

    Arguments:
        seed: Of the stream.
        count: How many rows there are.
        merged: m.
    """

    def __init__(self, seed: int, count: int, merged: int = 1) -> None:
        self.stream, self.count, self.merged, self.draws = seeded(seed), count, merged, 0

    def draw(self, function: Callable[[int, torch.Generator], Tensor], numbers: int = 1) -> Tensor:
        """One draw of the caller's."""
        self.draws += 1
        total = function(self.count, self.stream)
        for _ in range(self.merged - 1):
            total = total + function(self.count, self.stream)
        return total / math.sqrt(self.merged)
