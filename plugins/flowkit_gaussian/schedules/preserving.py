r"""Schedules of (nearly) constant variance, $\alpha_t^2 + \beta_t^2 \le 1$."""

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from flowkit import Schedule

__all__ = ["DDPM", "Cosine", "LogitLinear", "SubVariancePreserving", "VariancePreserving"]


class Cosine(Schedule):
    r"""A quarter turn of constant variance: $\alpha_t = \sin(\pi t/2)$, $\beta_t = \cos(\pi t/2)$.

    References:
        Nichol and Dhariwal 2021, Improved DDPM, section 3.2 (offset 0). https://arxiv.org/abs/2102.09672
        Ma et al. 2024, SiT, equation 12 (GVP). https://arxiv.org/abs/2401.08740
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Sine of the angle."""
        return torch.sin(t * (math.pi / 2))

    def beta(self, t: Tensor) -> Tensor:
        """Cosine of the angle, as the sine of what is left, so that it is 0 at t = 1 exactly."""
        return torch.sin((1 - t) * (math.pi / 2))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.beta(t) * (math.pi / 2)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.alpha(t) * (-math.pi / 2)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The angle whose tangent is alpha / beta, as a part of a quarter turn."""
        return torch.atan((log_snr / 2).exp()) / (math.pi / 2)


class VariancePreserving(Schedule):
    r"""The VP SDE with a rate that is linear in the time $\tau = 1 - t$ since the data.

    $\alpha_t = e^{-I_t/2}$ and $\beta_t = \sqrt{1 - e^{-I_t}}$ with the integrated rate
    $I_t = \tau r_0 + \tau^2 (r_1 - r_0)/2$. At t = 0 a trace of the data is left, alpha_0 = 0.0066 with the
    defaults; at t = 1 the derivative of beta is -inf.

    Arguments:
        rate_min: r_0, the rate at the data.
        rate_max: r_1, the rate at the noise.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 33 (times reversed).
        https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self,
        rate_min: Annotated[float, Field(gt=0)] = 0.1,
        rate_max: Annotated[float, Field(gt=0)] = 20.0,
    ) -> None:
        if rate_max < rate_min:
            raise ValueError(f"rate_max must be at least rate_min = {rate_min}, got {rate_max}")
        self.rate_min, self.rate_max = rate_min, rate_max

    def _integral(self, t: Tensor) -> Tensor:
        tau = 1 - t
        return tau * (self.rate_min + tau * (self.rate_max - self.rate_min) / 2)

    def _rate(self, t: Tensor) -> Tensor:
        return self.rate_min + (1 - t) * (self.rate_max - self.rate_min)

    def _time(self, integral: Tensor) -> Tensor:
        """Where the integrated rate has this value: the root of the quadratic, without cancellation."""
        rate, slope = self.rate_min, self.rate_max - self.rate_min
        integral = integral.clamp(max=rate + slope / 2)
        return 1 - 2 * integral / (rate + torch.sqrt(rate**2 + 2 * slope * integral))

    def alpha(self, t: Tensor) -> Tensor:
        """Exponential of minus half the integrated rate."""
        return torch.exp(-self._integral(t) / 2)

    def beta(self, t: Tensor) -> Tensor:
        """Such that alpha^2 + beta^2 = 1, without cancellation near t = 1."""
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Half the rate times alpha."""
        return self.alpha(t) * self._rate(t) / 2

    def beta_dot(self, t: Tensor) -> Tensor:
        """-alpha alpha_dot / beta, which is -inf at t = 1."""
        return -self.alpha(t) * self.alpha_dot(t) / self.beta(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """-log(e^I - 1), without overflow."""
        integral = self._integral(t)
        return -integral - torch.log(-torch.expm1(-integral))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The time at which I = log(1 + exp(-log_snr)); 0 where I never is that large."""
        return self._time(torch.logaddexp(-log_snr, torch.zeros_like(log_snr)))


class SubVariancePreserving(VariancePreserving):
    r"""The sub-VP SDE: the alpha of VP with less noise, $\beta_t = 1 - e^{-I_t} = 1 - \alpha_t^2$.

    Unlike that of VP, its beta has a finite derivative at t = 1.

    Arguments:
        rate_min: r_0, the rate at the data.
        rate_max: r_1, the rate at the noise.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 34 (times reversed).
        https://arxiv.org/abs/2011.13456
    """

    def beta(self, t: Tensor) -> Tensor:
        """1 - alpha^2, without cancellation near t = 1."""
        return -torch.expm1(-self._integral(t))

    def beta_dot(self, t: Tensor) -> Tensor:
        """-2 alpha alpha_dot."""
        return -2 * self.alpha(t) * self.alpha_dot(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """-2 log(2 sinh(I/2)), without overflow."""
        integral = self._integral(t)
        return -integral - 2 * torch.log(-torch.expm1(-integral))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The time at which 2 sinh(I/2) = exp(-log_snr / 2); 0 where I never is that large."""
        return self._time(2 * torch.asinh(torch.exp(-log_snr / 2) / 2))


class DDPM(VariancePreserving):
    r"""The 1000 steps of DDPM made continuous: $\alpha_t^2 = \prod_{i<s} (1 - b_i)$ at t = 1 - s/1000.

    The rates b_i are linear from 1e-4 to 0.02. In between, the logarithm of the product is the polynomial in
    $\tau = 1 - t$ of degree 8, without constant term, that has the right value after every whole number of
    steps to 14 digits. A model that was trained at the timestep k = 0...999 of DDPM is at t = 1 - (k + 1)/1000.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, equation 4 and section 4.
        https://arxiv.org/abs/2006.11239
    """

    def __init__(self) -> None:
        super().__init__(rate_min=0.1, rate_max=20.0)
        tau = np.arange(1, 1001) / 1000
        integral = -np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))
        self._coefficients = [0.0, *np.polynomial.Polynomial.fit(tau, integral / tau, 7).convert().coef.tolist()]
        self._slopes = [k * c for k, c in enumerate(self._coefficients)][1:]

    def _integral(self, t: Tensor) -> Tensor:
        return _polynomial(self._coefficients, 1 - t)

    def _rate(self, t: Tensor) -> Tensor:
        return _polynomial(self._slopes, 1 - t)

    def _time(self, integral: Tensor) -> Tensor:
        """Newton's method; the linear rate of VP is near enough to begin with, and the integral is convex."""
        integral = integral.clamp(max=sum(self._coefficients))
        t = super()._time(integral)
        for _ in range(4):
            t = t + (self._integral(t) - integral) / self._rate(t)
        return t.clamp(0, 1)


class LogitLinear(Schedule):
    r"""A log signal-to-noise ratio lambda_t that is linear in t.

    $\alpha_t^2 = 1/(1 + e^{-\lambda_t})$ and $\beta_t^2 = 1/(1 + e^{\lambda_t})$.
    A trace of the data is left at t = 0, and a trace of noise at t = 1: both 0.0067 with the defaults.

    Arguments:
        log_snr_min: lambda_0.
        log_snr_max: lambda_1.

    References:
        Kingma et al. 2021, Variational Diffusion Models, section 3.2 (their gamma is -lambda).
        https://arxiv.org/abs/2107.00630
    """

    def __init__(self, log_snr_min: float = -10.0, log_snr_max: float = 10.0) -> None:
        if log_snr_max <= log_snr_min:
            raise ValueError(f"log_snr_max must be greater than log_snr_min = {log_snr_min}, got {log_snr_max}")
        self.log_snr_min, self.log_snr_max = log_snr_min, log_snr_max

    def log_snr(self, t: Tensor) -> Tensor:
        """From log_snr_min to log_snr_max."""
        return (1 - t) * self.log_snr_min + t * self.log_snr_max

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Linear in it, from 0 to 1."""
        return ((log_snr - self.log_snr_min) / (self.log_snr_max - self.log_snr_min)).clamp(0, 1)

    def alpha(self, t: Tensor) -> Tensor:
        """The root of the logistic function."""
        return torch.sigmoid(self.log_snr(t)).sqrt()

    def beta(self, t: Tensor) -> Tensor:
        """The root of what is left of it."""
        return torch.sigmoid(-self.log_snr(t)).sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Alpha beta^2 / 2 times the slope."""
        return self.alpha(t) * self.beta(t) ** 2 * ((self.log_snr_max - self.log_snr_min) / 2)

    def beta_dot(self, t: Tensor) -> Tensor:
        """-beta alpha^2 / 2 times the slope."""
        return self.beta(t) * self.alpha(t) ** 2 * ((self.log_snr_min - self.log_snr_max) / 2)


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    """By Horner's rule, the constant first."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
