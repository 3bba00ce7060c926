"""Solves dX = drift dt + diffusion dW between given times."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from ..dynamics import Dynamics
from ..random import Generator

__all__ = ["Integrator"]


class Integrator(ABC):
    """A one-step method, forwards or backwards in time.

    What it promises stands on the class, and tests hold it to that.
    """

    order: ClassVar[float]
    """The order of convergence: of the global error for an ODE, in the strong sense for an SDE."""

    stochastic: ClassVar[bool] = False
    """Whether it solves SDEs, using `diffusion` and random numbers."""

    evaluates_end: ClassVar[bool] = False
    """Whether a step from t to s evaluates the drift at s, which at s = 1 not every model has."""

    @abstractmethod
    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """The state at time s from the state x at time t.

        Arguments:
            dynamics: The drift and the diffusion.
            x: Shape (batch, *event).
            t: The time of x.
            s: The time to go to; before t when integrating backwards.
            generator: The source of the noise; draw it with `flowkit.randn_like(x, generator)`.
        """

    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`, the first being x itself."""
        points = times.tolist() if isinstance(times, Tensor) else list(times)
        yield x
        for t, s in pairwise(points):
            x = self.step(dynamics, x, t, s, generator)
            yield x

    def integrate(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Tensor:
        """The state at the last of `times` from the state x at the first."""
        for state in self.trajectory(dynamics, x, times, generator):
            x = state
        return x
