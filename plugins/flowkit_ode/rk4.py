"""The classical Runge-Kutta method."""

from torch import Tensor

from flowkit import Dynamics, Generator, Integrator

__all__ = ["RK4"]


class RK4(Integrator):
    """Four slopes, weighted 1, 2, 2, 1."""

    order = 4
    evaluates_end = True

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, four evaluations."""
        h, middle = s - t, (t + s) / 2
        k1 = dynamics.drift(x, t)
        k2 = dynamics.drift(x + h / 2 * k1, middle)
        k3 = dynamics.drift(x + h / 2 * k2, middle)
        k4 = dynamics.drift(x + h * k3, s)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
