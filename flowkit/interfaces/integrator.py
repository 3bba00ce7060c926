"""Solves dX = drift dt + diffusion dW between given times."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from ..dynamics import Dynamics
from ..random import Generator
from .path import Path
from .quantity import Quantity

__all__ = ["Integrator"]


class Integrator(ABC):
    """Carries a state through time, forwards or backwards.

    A one-step method gives `step`. One that remembers earlier steps, or chooses its own, overrides `trajectory` as well
    and keeps what it remembers in there: an integrator has no state of its own. What it promises stands on the class,
    and tests hold it to that.
    """

    order: float
    """The order of convergence: of the global error for an ODE, in the strong sense for an SDE. It stands on the object
    where a setting decides it."""

    stochastic: bool = False
    """Whether it draws random numbers: unless it says otherwise, for the `diffusion` of an SDE. It too stands on the
    object where a setting decides it, of a method with `own_noise`."""

    own_noise: ClassVar[bool] = False
    """Whether a stochastic method decides itself how much noise it adds, and takes no sigma_t."""

    evaluates_end: bool = False
    """Whether a step from t to s evaluates the drift at s, which at s = 1 not every model has. It too stands on the
    object where a setting decides it."""

    own_steps: ClassVar[bool] = False
    """Whether it chooses its own steps, so that the times between the first and the last make no difference."""

    needs: ClassVar[tuple[Quantity, ...]] = (Quantity.VELOCITY,)
    """The fields that it asks of a model, beside the score that the drift of an SDE is made of."""

    @classmethod
    def solves_sde(cls) -> bool:
        """Whether it solves the SDE of a diffusion coefficient, which it must then be given."""
        return cls.stochastic and not cls.own_noise

    def problems(self, path: Path) -> list[str]:
        """Why this integrator does not go with that path; asked when a pipeline is built."""
        del path
        return []

    @abstractmethod
    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """The state at time s from the state x at time t.

        Arguments:
            dynamics: The drift and the diffusion.
            x: Shape (batch, *event); for a likelihood the flattened event with more columns, which integrate its
                divergence. A method that does more to x than follow the drift is refused there.
            t: The time of x.
            s: The time to go to; before t when integrating backwards.
            generator: The source of the noise; draw it with `flowkit.randn_like(x, generator)`, and other random
                numbers with `flowkit.draw`.
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
