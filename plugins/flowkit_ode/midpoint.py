"""The explicit midpoint method."""

from torch import Tensor

from flowkit import Dynamics, Generator, Integrator

__all__ = ["Midpoint"]


class Midpoint(Integrator):
    """A half step of Euler, then a whole step with the slope found there. Never evaluates at the end."""

    order = 2

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, two evaluations."""
        half = (s - t) / 2
        return x + (s - t) * dynamics.drift(x + half * dynamics.drift(x, t), t + half)
