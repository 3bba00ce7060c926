r"""What exponential integrators share: the exact solution of a Gaussian path's ODE, and its coefficients on a grid."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, Integrator, Path, Quantity, Schedule, UnsupportedError

__all__ = ["ExponentialIntegrator", "Grid", "constant_weight"]


class Grid(NamedTuple):
    """A schedule's coefficients at some times, evaluated at once in float64."""

    times: list[float]
    alpha: list[float]
    beta: list[float]
    log_ratio: list[float]
    r"""$\lambda = \log(\alpha/\beta)$: -inf where alpha is 0, inf where beta is 0."""

    @classmethod
    def of(cls, schedule: Schedule, times: Tensor) -> "Grid":
        """The coefficients of `schedule` at `times`, float64 of shape (n,)."""
        half_log_snr = schedule.log_snr(times) / 2
        return cls(times.tolist(), schedule.alpha(times).tolist(), schedule.beta(times).tolist(), half_log_snr.tolist())

    def lengths(self) -> list[float]:
        r"""$h = \lambda_s - \lambda_t$ of each step; inf where either is infinite."""
        return [s - t if math.isfinite(s) and math.isfinite(t) else math.inf for t, s in pairwise(self.log_ratio)]

    def decay(self, i: int) -> float:
        r"""$\beta_s/\beta_t$, the factor of x_t in step i; from beta_t = 0, beta_s, that of the noise in its place."""
        return self.beta[i + 1] / (self.beta[i] or 1.0)

    def constant_weight(self, i: int) -> float:
        r"""The weight of a constant D in step i: $\alpha_s - \alpha_t \beta_s/\beta_t$; from beta_t = 0, alpha_s."""
        h = self.log_ratio[i + 1] - self.log_ratio[i]
        if math.isfinite(h):
            return constant_weight(self.alpha[i + 1], h)
        return self.alpha[i + 1] - (self.alpha[i] * self.decay(i) if self.beta[i] else 0.0)


def constant_weight(alpha: float, h: float) -> float:
    r"""$\alpha_s (1 - e^{-h})$, the weight of a constant D in a step of finite length h to alpha_s."""
    return -alpha * math.expm1(-h)


class ExponentialIntegrator(Integrator):
    r"""Solves the ODE of a Gaussian path, $x_t = \alpha_t D + \beta_t N$, exactly in all but D = E[z|x_t].

    With $\lambda = \log(\alpha/\beta)$ for the time the ODE is semi-linear, and between any two times

    $$x_s = \frac{\beta_s}{\beta_t} x_t
      + \alpha_s \int_{\lambda_t}^{\lambda_s} e^{\lambda - \lambda_s} D(\lambda)\,d\lambda.$$

    A method puts a polynomial in lambda in the place of D. The constant D(x_t) has the weight
    $\alpha_s (1 - e^{-h})$, $h = \lambda_s - \lambda_t$.

    **Ends.** Where beta_s = 0 or alpha_t = 0, h is infinite and this weight is alpha_s: the last step ends in
    alpha_s D, and the first keeps (beta_s / beta_t) x_t of the noise. A polynomial of a higher degree has no value
    there, so a step with such an end has order 1. To later steps, a point at lambda = -inf says nothing of the
    slope of D (its divided differences are 0), and is left out.

    **Backwards**, from data to noise, h is negative and all of this holds. A step from beta_t = 0, where x_t does not
    say what the noise is, asks the model for it: $x_s = \alpha_s D + \beta_s N$.

    References:
        Lu et al. 2022, DPM-Solver++, proposition 4.1. https://arxiv.org/abs/2211.01095
    """

    needs: ClassVar[tuple[Quantity, ...]] = (Quantity.DATA,)

    def problems(self, path: Path) -> list[str]:
        """The path must be Gaussian."""
        if _schedule(path) is not None:
            return []
        return [
            f"{type(self).__name__} needs a Gaussian path, x_t = alpha_t z + beta_t x0 with a schedule, and "
            f"{type(path).__name__} is none: use an integrator that needs but a velocity, such as 'heun'"
        ]

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """The state at s from x at t and nothing earlier."""
        return self.integrate(dynamics, x, [t, s], generator)

    @abstractmethod
    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`, the first being x itself."""

    def schedule(self, dynamics: Dynamics) -> Schedule:
        """The schedule of the path behind `dynamics`.

        Raises:
            UnsupportedError: There is no path, or it is not Gaussian.
        """
        if dynamics.path is None:
            raise UnsupportedError(
                f"{type(self).__name__} needs the Gaussian path of a model, as in ODE(model, path=path), and was given "
                f"a drift alone: use an integrator that needs but a velocity, such as 'heun'"
            )
        schedule = _schedule(dynamics.path)
        if schedule is None:
            raise UnsupportedError("; ".join(self.problems(dynamics.path)))
        return schedule

    def grid(self, dynamics: Dynamics, times: Sequence[float] | Tensor) -> Grid:
        """The coefficients of the path behind `dynamics` at `times`.

        Raises:
            UnsupportedError: They do not go one way.
        """
        points = torch.as_tensor(times, dtype=torch.float64, device="cpu")
        for t, s in pairwise(points.tolist()):
            if s == t or (s < t) != (points[-1] < points[0]):
                raise UnsupportedError(
                    f"{type(self).__name__} goes one way in time: times should rise throughout or fall throughout, and "
                    f"these go from {points[0]:g} to {points[-1]:g} with a step from {t:g} to {s:g}"
                )
        return Grid.of(self.schedule(dynamics), points)

    def begin(self, dynamics: Dynamics, x: Tensor, grid: Grid, i: int = 0) -> tuple[Tensor, Tensor]:
        """The data D where step i begins, and what the step has the factor `decay` of: x, or N where beta is 0."""
        if grid.beta[i] == 0:
            data, noise = dynamics.predict(x, grid.times[i], (Quantity.DATA, Quantity.NOISE))
            return data, noise
        return dynamics.predict(x, grid.times[i], (Quantity.DATA,))[0], x


def _schedule(path: Path) -> Schedule | None:
    """The schedule of a Gaussian path: one where noise and state give the data, for a schedule alone may be bent."""
    return path.schedule if path.can_convert(Quantity.NOISE, Quantity.DATA) else None
