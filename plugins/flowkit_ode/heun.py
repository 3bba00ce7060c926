"""Heun's method."""

from torch import Tensor

from flowkit import Dynamics, Generator, Integrator

__all__ = ["Heun"]


class Heun(Integrator):
    """A step of Euler, then the mean of the slopes at both ends (the explicit trapezoid rule).

    References:
        Karras et al. 2022, Elucidating the Design Space, algorithm 1. https://arxiv.org/abs/2206.00364
    """

    order = 2
    evaluates_end = True

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, two evaluations."""
        first = dynamics.drift(x, t)
        second = dynamics.drift(x + (s - t) * first, s)
        return x + (s - t) / 2 * (first + second)
