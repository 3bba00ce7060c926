"""What the samplers share that are made for Gaussian paths and choose their own noise."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor

from flowkit import Dynamics, Generator, Integrator, Path, Quantity

from .schedule import is_gaussian

__all__ = ["GaussianIntegrator"]


class GaussianIntegrator(Integrator):
    r"""Goes from one level of $x_t = \alpha_t z + \beta_t x_0$ to the next with $D = E[z|x_t]$.

    It needs no sigma_t and no derivative of the schedule, and is finite from alpha = 0 to beta = 0. A subclass gives
    `trajectory`, with the coefficients of all steps worked out before the first.
    """

    stochastic = True
    own_noise = True
    needs = (Quantity.DATA,)

    def problems(self, path: Path) -> list[str]:
        """The path must be Gaussian."""
        if is_gaussian(path):
            return []
        return [f"{type(self).__name__} needs a Gaussian path; {type(path).__name__} is none: use 'euler_maruyama'"]

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """A trajectory of one step."""
        return self.integrate(dynamics, x, (t, s), generator)

    @abstractmethod
    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """The states at `times`, the first being x itself."""
