"""Explicit Runge-Kutta methods: a tableau is data, the step is shared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, Integrator, Time, expand_time

__all__ = ["RungeKutta", "Tableau", "advance", "step_length", "weighted_sum"]


@dataclass(frozen=True)
class Tableau:
    r"""$k_i = u(x + h \sum_{j<i} a_{ij} k_j,\ t + c_i h)$ and $x' = x + h \sum_i b_i k_i$.

    Arguments:
        c: Where in the step the slopes are; the first at 0.
        a: A row for every slope but the first.
        b: The weights of the result.
        error: For step control: h sum_i e_i k_i is the result less that of a method of lower order. One weight more
            than `b`, for the slope at the result, which is the first of the next step ("first same as last").
        dense: For dense output: likewise, weights of what a cubic polynomial lacks in between.

    References:
        Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, section II.1.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()
    dense: tuple[float, ...] = ()


class RungeKutta(Integrator):
    """The method of a tableau. A subclass gives `tableau`, `order`, and `evaluates_end` where c holds a 1."""

    tableau: ClassVar[Tableau]

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, an evaluation for every slope."""
        return advance(x, s - t, self.tableau.b, self.slopes(dynamics, x, t, s))

    def slopes(self, dynamics: Dynamics, x: Tensor, t: Time, s: Time, first: Tensor | None = None) -> list[Tensor]:
        """The k_i of a step from t to s.

        Arguments:
            dynamics: The drift.
            x: The state at t, shape (batch, *event).
            t: One time, or shape (batch,).
            s: Likewise.
            first: u(x, t), where it is known already.
        """
        dt, found = step_length(t, s, x), [dynamics.drift(x, t) if first is None else first]
        for c, row in zip(self.tableau.c[1:], self.tableau.a, strict=True):
            found.append(dynamics.drift(advance(x, dt, row, found), s if c == 1 else t + c * (s - t)))
        return found


def step_length(t: Time, s: Time, x: Tensor) -> Time:
    """The length s - t, in a shape that multiplies x."""
    length = s - t
    return expand_time(length, x) if isinstance(length, Tensor) else length


def advance(x: Tensor, dt: Time, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """The state x + dt sum_i w_i k_i. The sum comes first: x is rounded once a step, which low precision needs."""
    factor, total = weighted_sum(weights, slopes)
    return x + (factor * dt) * total if isinstance(dt, Tensor) else torch.add(x, total, alpha=factor * dt)


def weighted_sum(weights: Sequence[float], slopes: Sequence[Tensor]) -> tuple[float, Tensor]:
    """sum_i w_i k_i as a factor w and a tensor, k + sum_i w_i/w k_i, which costs one pass over the state less."""
    (factor, total), *rest = [(w, k) for w, k in zip(weights, slopes, strict=True) if w]
    for w, k in rest:
        total = torch.add(total, k, alpha=w / factor)
    return factor, total
