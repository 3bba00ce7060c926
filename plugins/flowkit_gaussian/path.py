r"""The Gaussian path $p_t(x|z) = N(\alpha_t z, \beta_t^2 I)$ and the four views of one prediction."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowkit import Path, Quantity, Schedule, Time, UnsupportedError, expand_time

from .schedules import CondOT
from .source import GaussianSource

__all__ = ["GaussianPath"]


class _Coefficients(NamedTuple):
    """The schedule at a time: floats at one time, or tensors that broadcast with the state."""

    alpha: Any
    beta: Any
    alpha_dot: Any
    beta_dot: Any


class GaussianPath(Path):
    r"""The flow $x_t = \alpha_t z + \beta_t x_0$ with $x_0 \sim N(0, I)$.

    Its conditional velocity and score are

    $$u_t(x|z) = \dot\alpha_t z + \dot\beta_t x_0, \qquad \nabla\log p_t(x|z) = -x_0/\beta_t.$$

    **Conversions.** With D = E[z|x] and N = E[x_0|x], every quantity is linear in the pair (D, N), and
    x = alpha D + beta N is the second equation that one prediction needs to give both:
    velocity = alpha' D + beta' N, score = -N/beta, noise = N, data = D, v = alpha N - beta D. At the ends one
    equation is lost:

    - where beta = 0, x is the data point and says nothing of the independent x_0, so N = E[x_0] = 0;
    - where alpha = 0, x is the noise and says nothing of z, so D = E[z], the `data_mean`;
    - the score where beta = 0, and the velocity where beta' is infinite, are not determined and refused.

    Arguments:
        schedule: alpha_t and beta_t.

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, theorem 3. https://arxiv.org/abs/2210.02747
        Albergo et al. 2023, Stochastic Interpolants, section 4.1. https://arxiv.org/abs/2303.08797
    """

    def __init__(self, schedule: Schedule = CondOT()) -> None:  # noqa: B008 (schedules are immutable)
        self.schedule = schedule

    def sample(self, x0: Tensor, z: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Alpha_t z + beta_t x0, shape (batch, *event)."""
        alpha, beta = self.schedule.alpha(t), self.schedule.beta(t)
        return expand_time(alpha, z) * z + expand_time(beta, z) * x0

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Alpha_dot_t z + beta_dot_t x0, shape (batch, *event)."""
        alpha_dot, beta_dot = self.schedule.alpha_dot(t), self.schedule.beta_dot(t)
        _refuse(_is_infinite(beta_dot), "the velocity", "the derivative of beta is infinite")
        return expand_time(alpha_dot, z) * z + expand_time(beta_dot, z) * x0

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """-x0 / beta_t, shape (batch, *event)."""
        beta = self.schedule.beta(t)
        _refuse(beta == 0, "the score", "beta is 0")
        return -x0 / expand_time(beta, x0)

    @property
    def source_scale(self) -> float:
        """beta_0, which is 1 for most schedules."""
        return float(self.schedule.beta(torch.zeros((), dtype=torch.float64)))

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """Always: each of the four determines the others."""
        return True

    def convert(
        self,
        value: Tensor,
        x: Tensor,
        t: Time,
        given: Quantity,
        wanted: Quantity,
        data_mean: Tensor | float = 0.0,
    ) -> Tensor:
        """Turn one quantity into another; see the class for the ends. Shape (batch, *event).

        Raises:
            UnsupportedError: The quantity is not determined at this time.
        """
        if given is wanted:
            return value
        at = self._at(t, x)
        if given is Quantity.SCORE:
            value, given = -at.beta * value, Quantity.NOISE
        data, noise = _data_and_noise(value, x, at, given, data_mean)
        if wanted is Quantity.DATA:
            return data
        if wanted is Quantity.NOISE:
            return noise
        if wanted is Quantity.V:
            return at.alpha * noise - at.beta * data
        if wanted is Quantity.SCORE:
            _refuse(at.beta == 0, "the score", "beta is 0")
            return -noise / at.beta
        _refuse(_is_infinite(at.beta_dot), "the velocity", "the derivative of beta is infinite")
        return at.alpha_dot * data + at.beta_dot * noise

    def compatible_source(self, source: Any) -> str | None:
        """Only the standard normal: from any other source the path is not Gaussian."""
        if isinstance(source, GaussianSource):
            return None
        return "a Gaussian path starts from N(0, I): use the source 'gaussian'"

    def _at(self, t: Time, x: Tensor) -> _Coefficients:
        schedule = self.schedule
        functions = (schedule.alpha, schedule.beta, schedule.alpha_dot, schedule.beta_dot)
        if isinstance(t, Tensor) and t.ndim:
            return _Coefficients(*(expand_time(function(t), x) for function in functions))
        time = torch.tensor(float(t), dtype=torch.float64)
        return _Coefficients(*(function(time).item() for function in functions))


def _data_and_noise(
    value: Tensor, x: Tensor, at: _Coefficients, given: Quantity, data_mean: Tensor | float
) -> tuple[Tensor, Tensor]:
    """D = E[z|x] and N = E[x0|x] from one of them, from v, or from the velocity."""
    if given is Quantity.V:
        norm = at.alpha * at.alpha + at.beta * at.beta
        return (at.alpha * x - at.beta * value) / norm, (at.alpha * value + at.beta * x) / norm
    if given is Quantity.DATA:
        return value, _divide(x - at.alpha * value, at.beta, 0.0)
    if given is Quantity.NOISE:
        return _divide(x - at.beta * value, at.alpha, data_mean), value
    # The velocity: solve alpha D + beta N = x, alpha' D + beta' N = u, the second divided by |beta'| where that is
    # above 1, for it may be infinite.
    scale, slope = _clamped(at.beta_dot)
    a, u = scale * at.alpha_dot, scale * value
    determinant = at.alpha * slope - at.beta * a
    return (slope * x - at.beta * u) / determinant, (at.alpha * u - a * x) / determinant


def _clamped(value: Any) -> tuple[Any, Any]:
    """A factor of at most 1 that brings a value into [-1, 1], and the product."""
    if isinstance(value, Tensor):
        return 1 / value.abs().clamp(min=1), value.clamp(-1, 1)
    return 1 / max(abs(value), 1.0), min(max(value, -1.0), 1.0)


def _divide(numerator: Tensor, denominator: Any, limit: Tensor | float) -> Tensor:
    """The quotient, or `limit` where the denominator is 0."""
    if isinstance(denominator, Tensor):
        zero = denominator == 0
        return torch.where(zero, limit, numerator / torch.where(zero, 1, denominator))
    return numerator / denominator if denominator else torch.zeros_like(numerator) + limit


def _is_infinite(value: Any) -> Any:
    return value.isinf() if isinstance(value, Tensor) else math.isinf(value)


def _refuse(where: Any, what: str, reason: str) -> None:
    """Raise where a quantity is not determined. Batches of times on an accelerator are not looked at: that
    would wait for the device; samplers pass one time as a number, and training draws from the open interval.
    """
    if isinstance(where, Tensor):
        if where.device.type != "cpu" or torch.compiler.is_compiling():
            return
        where = bool(where.any())
    if where:
        raise UnsupportedError(f"{what} is not determined at this time, where {reason}: stop short of it")
