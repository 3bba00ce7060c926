r"""What all two-sided paths share: $x_t = \alpha_t z + \beta_t x_0 + \gamma_t \epsilon$."""

from abc import abstractmethod

import torch
from torch import Tensor

from flowkit import Path, Quantity, Time, UnsupportedError, expand_time, holds_anywhere, randn_like, time_tensor

from .gamma import GAMMAS, Gamma, GammaName, NoGamma

__all__ = ["Interpolant"]


class Interpolant(Path):
    r"""A path between any two distributions: $x_t = \alpha_t z + \beta_t x_0 + \gamma_t \epsilon$.

    Its own noise is $\epsilon \sim N(0, I)$, and its mean $m_t = \alpha_t z + \beta_t x_0$ joins the two ends. Given
    them, $p_t(x|x_0, z) = N(m_t, \gamma_t^2 I)$ with

    $$u_t = \dot\alpha_t z + \dot\beta_t x_0 + \frac{\dot\gamma_t}{\gamma_t}(x - m_t), \qquad
      \nabla\log p_t = -\frac{x - m_t}{\gamma_t^2}.$$

    Both average to the marginal velocity and score. Where gamma is 0 there is no score; the velocity loses its last
    term if gamma_dot is 0 as well, and is refused otherwise: x does not say which way the noise will push.

    **Conversions.** Without noise of its own (gamma `none`) the velocity and the state determine E[z|x], the data,
    and the reverse. With it, noise = E[eps|x] and the score = -noise / gamma determine each other, and nothing
    leads from the velocity to the score: learn both (head `joint`).

    Arguments:
        gamma: The shape of gamma: none, constant (scale), brownian (scale sqrt(t (1 - t))), quadratic
            (scale t (1 - t)) or sine_squared (scale sin^2(pi t)).
        scale: Its size.

    References:
        Albergo et al. 2023, Stochastic Interpolants, definition 2.1, theorems 2.6 and 2.8.
        https://arxiv.org/abs/2303.08797
    """

    two_sided = True

    noise: Gamma

    def __init__(self, gamma: GammaName, scale: float) -> None:
        self.gamma, self.scale = gamma, scale
        self.noise = GAMMAS[gamma](scale)

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The coefficient of the data point."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """The coefficient of x0."""

    @abstractmethod
    def alpha_dot(self, t: Tensor) -> Tensor:
        """The derivative d alpha / dt."""

    @abstractmethod
    def beta_dot(self, t: Tensor) -> Tensor:
        """The derivative d beta / dt."""

    def sample(self, x0: Tensor, z: Tensor, t: Time, generator: torch.Generator | None = None) -> Tensor:
        """Alpha_t z + beta_t x0 + gamma_t eps, eps drawn from the generator. Shape (batch, *event)."""
        t = time_tensor(t)
        mean = self._mean(x0, z, t)
        if not self.has_score:
            return mean
        noise = randn_like(mean, generator)
        return mean + expand_time(self.noise.gamma(t), z) * noise

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Time) -> Tensor:
        """The time derivative of the flow through x, shape (batch, *event)."""
        t = time_tensor(t)
        along = expand_time(self.alpha_dot(t), z) * z + expand_time(self.beta_dot(t), z) * x0
        if not self.has_score:
            return along
        still = self.noise.gamma(t) == 0
        if not self.noise.settles:
            _refuse(still, Quantity.VELOCITY, "gamma is 0 and its derivative is not")
        slope = torch.where(still, 0, self.noise.log_slope(t))
        return along + expand_time(slope, z) * (x - self._mean(x0, z, t))

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Time) -> Tensor:
        """-(x - m_t) / gamma_t^2, shape (batch, *event)."""
        if not self.has_score:
            raise UnsupportedError(
                f"{type(self).__name__} has no score without noise: choose another gamma than 'none'"
            )
        t = time_tensor(t)
        gamma = self.noise.gamma(t)
        _refuse(gamma == 0, Quantity.SCORE, "gamma is 0")
        return (self._mean(x0, z, t) - x) / expand_time(gamma.square(), x)

    def start_noise(self, t: float) -> float:
        """gamma_t."""
        return float(self.noise.gamma(torch.tensor(t, dtype=torch.float64)))

    @property
    def has_score(self) -> bool:
        """Whether there is noise."""
        return not isinstance(self.noise, NoGamma)

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """Between noise and score, or without noise between velocity and data."""
        pair = {Quantity.NOISE, Quantity.SCORE} if self.has_score else {Quantity.VELOCITY, Quantity.DATA}
        return given is wanted or {given, wanted} == pair

    def convert(
        self,
        value: Tensor,
        x: Tensor,
        t: Time,
        given: Quantity,
        wanted: Quantity,
        data_mean: Tensor | float = 0.0,
    ) -> Tensor:
        """Turn one quantity into another; see the class for which. Shape (batch, *event).

        Raises:
            UnsupportedError: There is no such conversion, or not at this time.
        """
        if given is wanted or not self.can_convert(given, wanted):
            return super().convert(value, x, t, given, wanted, data_mean)
        time = t if isinstance(t, Tensor) and t.ndim else torch.tensor(float(t), dtype=torch.float64)
        if self.has_score:
            gamma = self.noise.gamma(time)
            if given is Quantity.SCORE:
                return -expand_time(gamma, x) * value
            _refuse(gamma == 0, wanted, "gamma is 0")
            return -value / expand_time(gamma, x)
        beta, beta_dot = self.beta(time), self.beta_dot(time)
        # alpha E[z|x] + beta E[x0|x] = x and alpha_dot E[z|x] + beta_dot E[x0|x] = u, solved for E[z|x].
        determinant = self.alpha(time) * beta_dot - beta * self.alpha_dot(time)
        if given is Quantity.VELOCITY:
            return expand_time(beta_dot / determinant, x) * x - expand_time(beta / determinant, x) * value
        _refuse(beta == 0, wanted, "x says nothing of x0")
        return expand_time(beta_dot / beta, x) * x - expand_time(determinant / beta, x) * value

    def _mean(self, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        return expand_time(self.alpha(t), z) * z + expand_time(self.beta(t), z) * x0


def _refuse(where: Tensor, what: Quantity, reason: str) -> None:
    """Raise where a quantity is not determined, as far as `holds_anywhere` looks."""
    if holds_anywhere(where):
        raise UnsupportedError(f"the {what.value} is not determined at this time, where {reason}: stop short of it")
