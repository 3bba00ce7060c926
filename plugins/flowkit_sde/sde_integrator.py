"""What the integrators of the sampling SDE share: the direction of time, and the step that ends at the samples."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

from flowkit import Dynamics, Generator, Integrator, Path, Quantity

__all__ = ["SDEIntegrator"]


class SDEIntegrator(Integrator):
    r"""Solves $dX = b_t(X)\,dt + \sigma_t\,dW$, $b_t = u_t + \frac{\sigma_t^2}{2} s_t$, forwards in time.

    The score may be singular at t = 1, and noise that is added last is not removed any more. So the last step of a
    grid, from t to s = 1 or to an s before it, can be another one:

    - `none`: a step like the others;
    - `mean`: such a step of Euler-Maruyama without its noise, x + h b_t(x);
    - `euler`: a step of the ODE, x + h u_t(x);
    - `tweedie`: the mean of the data point, E[z | x_t = x], also where s is before 1.

    Arguments:
        last_step: Which.

    References:
        Ma et al. 2024, SiT, the option `--last-step` of its code. https://arxiv.org/abs/2401.08740
    """

    stochastic = True

    def __init__(self, last_step: Literal["none", "mean", "euler", "tweedie"] = "none") -> None:
        self.last_step = last_step

    def problems(self, path: Path) -> list[str]:
        """The mean of the data point must follow from the score."""
        if self.last_step != "tweedie" or path.can_convert(Quantity.SCORE, Quantity.DATA):
            return []
        return [f"last_step 'tweedie' needs E[z|x], which {type(path).__name__} does not give: use 'mean' or 'euler'"]

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step; that to t = 1 as `last_step` says."""
        return self._step(dynamics, x, t, s, generator, last=s >= 1)

    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`; the step to the last of them as `last_step` says."""
        points = times.tolist() if isinstance(times, Tensor) else list(times)
        yield x
        for i, (t, s) in enumerate(pairwise(points), start=2):
            x = self._step(dynamics, x, t, s, generator, last=i == len(points))
            yield x

    def _step(
        self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None, last: bool
    ) -> Tensor:
        if s < t:
            raise ValueError(f"an SDE is solved forwards in time, not from {t} to {s}")
        if not last or self.last_step == "none":
            return self.advance(dynamics, x, t, s, generator)
        if self.last_step == "mean":
            return x + (s - t) * dynamics.drift(x, t)
        if self.last_step == "euler":
            return x + (s - t) * dynamics.predict(x, t, (Quantity.VELOCITY,))[0]
        return dynamics.predict(x, t, (Quantity.DATA,))[0]

    @abstractmethod
    def advance(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None) -> Tensor:
        """The step from t to s >= t of the method."""
