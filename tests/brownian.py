"""Noise under control: Brownian paths that every step length shares, and impulses instead of noise."""

import math
from itertools import cycle

import torch
from oracles import seeded

from flowkit import BlockGenerator


class Brownian(BlockGenerator):
    """The same Brownian path for every step length: each draw merges some draws of one stream.

    The sum of m normal increments over h is the increment over m h; divided by sqrt(m), it is standard again.
    """

    def __init__(self, seed, count, merged=1):
        self.generator, self.count, self.merged = seeded(seed), count, merged

    def draw(self, function, numbers=1):
        return sum(function(self.count, self.generator) for _ in range(self.merged)) / math.sqrt(self.merged)


class IntegratedBrownian(Brownian):
    """The same with the integral over a step, of which every second draw holds what the increment does not.

    Over a step h the increment is sqrt(h) a and the integral of W - W_start is h^(3/2) (a + b / sqrt(3)) / 2. Over m
    of them the increments add up, and the integrals do with h times the increment that went before.
    """

    def __init__(self, seed, count, merged=1):
        super().__init__(seed, count, merged)
        self.later = None

    def draw(self, function, numbers=1):
        if self.later is not None:
            later, self.later = self.later, None
            return later
        increment = integral = 0.0
        for _ in range(self.merged):
            a, b = function(self.count, self.generator), function(self.count, self.generator)
            integral = integral + increment + (a + b / math.sqrt(3)) / 2
            increment = increment + a
        a = increment / math.sqrt(self.merged)
        self.later = math.sqrt(3) * (2 * integral / self.merged**1.5 - a)
        return a


class Impulses(BlockGenerator):
    """No noise in row 0, and each element that is drawn is 1 in one row alone, from row `first` on.

    Where a step is affine in the state and the noise, the result is x[0] + the sum over i of (x[i] - x[0]) xi_i: its
    mean is x[0] and its variance the sum of the squares, with no chance in them. For events of one element.
    """

    def __init__(self, rows, first):
        self.rows, self.next = rows, first

    def draw(self, function, numbers=1):
        noise = torch.zeros_like(function(self.rows, seeded()))
        noise[self.next] = 1
        self.next += 1
        return noise


class Replay(BlockGenerator):
    """Draws that are given, over and over."""

    def __init__(self, *draws):
        self.draws = cycle(draws)

    def draw(self, function, numbers=1):
        return next(self.draws)
