"""A path on which everything is known, written with formulas of its own for tests to hold the package against."""

import functools
import math
from collections.abc import Sequence

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

import flowkit as fk
from flowkit import Quantity


def _vp(t: Tensor) -> Tensor:
    """The integral of the rate 0.1 + 19.9 tau over tau from 0 to 1 - t."""
    return 0.1 * (1 - t) + 19.9 * (1 - t) ** 2 / 2


def _ddpm_coefficients() -> Sequence[float]:
    """-log prod_(i<s) (1 - b_i) as a polynomial in s, from log(1 - b) = -sum b^p / p and Bernoulli's sums of powers."""
    step, bernoulli = 0.0199 / 999, [1, -1 / 2, 1 / 6, 0, -1 / 30, 0, 1 / 42, 0, -1 / 30, 0]
    total, shifted = Polynomial([0.0]), Polynomial([1e-4 / step, 1.0])
    for p in range(1, 9):
        powers = Polynomial([math.comb(p + 1, k) * bernoulli[p + 1 - k] for k in range(p + 2)])
        total += step**p / (p * (p + 1)) * powers(shifted)
    return [0.0, *total.coef[1:]]


_DDPM = _ddpm_coefficients()


def _ddpm(t: Tensor) -> Tensor:
    return sum(c * (1000 * (1 - t)) ** k for k, c in enumerate(_DDPM) if k)


def _shifted(t: Tensor) -> Tensor:
    """The noise level 1 - t, shifted by 3."""
    return 3 * (1 - t) / (1 + 2 * (1 - t))


SCHEDULES = {
    "condot": (lambda t: t, lambda t: (1 - t) ** 2),
    "cosine": (lambda t: torch.sin(math.pi * t / 2), lambda t: torch.sin(math.pi * (1 - t) / 2) ** 2),
    "wide": (lambda t: t, lambda t: 9 * (1 - t) ** 2),
    "vp": (lambda t: torch.exp(-_vp(t) / 2), lambda t: -torch.expm1(-_vp(t))),
    "sub_vp": (lambda t: torch.exp(-_vp(t) / 2), lambda t: torch.expm1(-_vp(t)) ** 2),
    "ddpm": (lambda t: torch.exp(-_ddpm(t) / 2), lambda t: -torch.expm1(-_ddpm(t))),
    "polynomial": (lambda t: t**2, lambda t: ((1 - t) * (1 + t)) ** 2),
    "target": (lambda t: t, lambda t: (1 - t + 0.01 * t) ** 2),
    "logit_linear": (
        lambda t: (1 + torch.exp(10 - 20 * t)) ** -0.5,
        lambda t: 1 / (1 + torch.exp(20 * t - 10)),
    ),
    "ve": (lambda t: 1 + 0 * t, lambda t: 2500 * (0.01 / 50) ** (2 * t)),
    "edm": (lambda t: 1 + 0 * t, lambda t: (80 ** (1 / 7) + t * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 14),
    "shifted": (lambda t: t / (3 - 2 * t), lambda t: _shifted(t) ** 2),
}
"""alpha and beta^2 of each schedule; unlike beta, beta^2 has a finite derivative everywhere."""


class Wide(fk.Schedule):
    """Straight lines from N(0, 9 I): a schedule that does not start at beta = 1."""

    def alpha(self, t: Tensor) -> Tensor:
        return t

    def beta(self, t: Tensor) -> Tensor:
        return 3 * (1 - t)


def _with_slope(function, t: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        t = t.detach().requires_grad_()
        value = function(t)
        return value.detach(), torch.autograd.grad(value.sum(), t)[0]


@functools.cache
def _at(schedule: str, t: float) -> tuple[Tensor, ...]:
    """alpha, alpha', beta^2 and its derivative, of shape (1, 1): tests of many steps ask for the same times often."""
    time = torch.full((1, 1), t, dtype=torch.float64)
    return tuple(part for function in SCHEDULES[schedule] for part in _with_slope(function, time))


class GaussianMixture(fk.Predictor):
    """The exact marginal fields of a Gaussian path to a mixture of isotropic Gaussians, in float64.

    Given x_t = x, component k has the posterior weight w_k N(x; alpha m_k, v_k) / p_t(x), v_k = alpha^2 s_k^2 + beta^2,
    and within it (z, x0, x_t) is jointly Gaussian: with g_k = (x - alpha m_k) / v_k,

        E[z|x,k] = m_k + alpha s_k^2 g_k,   E[x0|x,k] = beta g_k,   grad log p_t(x|k) = -g_k.

    A label y = k leaves one component, y = -1 leaves all.
    """

    def __init__(self, means, stds, weights, schedule: str = "condot") -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)  # (K, *event)
        self.stds = torch.as_tensor(stds, dtype=torch.float64)
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.schedule, (self.alpha, self.beta_squared) = schedule, SCHEDULES[schedule]

    @property
    def mean(self) -> Tensor:
        """E[z]."""
        return torch.einsum("k,k...->...", self.weights, self.means)

    @property
    def variance(self) -> Tensor:
        """The variance of each element of z."""
        weights = self.weights.reshape(-1, *(1,) * (self.means.ndim - 1))
        spread = self.stds.square().reshape(weights.shape) + (self.means - self.mean).square()
        return (weights * spread).sum(0)

    def can_predict(self, wanted: Quantity) -> bool:
        return True

    def predict(self, x, t, y, wanted):
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1)
        if len(t) == 1:
            alpha, alpha_dot, beta_squared, beta_squared_dot = _at(self.schedule, float(t))
        else:
            alpha, alpha_dot = _with_slope(self.alpha, t)
            beta_squared, beta_squared_dot = _with_slope(self.beta_squared, t)
        variances = alpha**2 * self.stds.square() + beta_squared
        posterior = self._log_joint(x, alpha, variances, y).softmax(1)
        means, flat = self.means.flatten(1), x.double().flatten(1)

        def offset(weights):
            """The sum over k of weights_k (x - alpha m_k)."""
            return weights.sum(1, keepdim=True) * flat - alpha * (weights @ means)

        scaled = posterior / variances
        slope, data = offset(scaled), posterior @ means + alpha * offset(scaled * self.stds.square())
        beta = beta_squared.sqrt()
        fields = {
            Quantity.DATA: data,
            Quantity.SCORE: -slope,
            Quantity.NOISE: beta * slope,
            Quantity.V: alpha * beta * slope - beta * data,
            Quantity.VELOCITY: alpha_dot * data + beta_squared_dot / 2 * slope,  # beta' beta = (beta^2)' / 2
        }
        return tuple(fields[quantity].reshape(x.shape).to(x.dtype) for quantity in wanted)

    def log_prob(self, x: Tensor, t=1.0, y: Tensor | None = None) -> Tensor:
        """log p_t(x), or log p_t(x|y)."""
        return self.log_joint(x, t, y).logsumexp(1)

    def log_joint(self, x: Tensor, t, y: Tensor | None = None) -> Tensor:
        """log (w_k p_t(x|k)), shape (batch, K)."""
        t = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1)
        alpha = self.alpha(t)
        return self._log_joint(x, alpha, alpha**2 * self.stds.square() + self.beta_squared(t), y)

    def pairs(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Independent x0 ~ N(0, I) and z ~ p_data."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        x0, noise = torch.randn(2, n, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        return x0, self.means[which] + self.stds[which].reshape(-1, *(1,) * (noise.ndim - 1)) * noise

    def sample(self, n: int, t: float, generator: torch.Generator) -> Tensor:
        """Draws of p_t."""
        x0, z = self.pairs(n, generator)
        t = torch.tensor(t, dtype=torch.float64)
        return self.alpha(t) * z + self.beta_squared(t).sqrt() * x0

    def _log_joint(self, x, alpha, variances, y):
        """log (w_k N(x; alpha m_k, v_k I)), shape (batch, K)."""
        offsets = x.double().flatten(1)[:, None] - alpha[..., None] * self.means.flatten(1)
        log_weights = self.weights.log().expand(len(x), -1)
        if y is not None:
            others = (y[:, None] >= 0) & (y[:, None] != torch.arange(len(self.weights)))
            log_weights = log_weights.masked_fill(others, -math.inf).log_softmax(1)
        log_normal = -0.5 * (
            offsets.square().sum(2) / variances + offsets.shape[2] * torch.log(2 * math.pi * variances)
        )
        return log_weights + log_normal


def mixture(schedule: str = "condot") -> GaussianMixture:
    """Three unequal components in the plane, the first of them on the left."""
    return GaussianMixture([[-2.0, 0.0], [1.0, 1.5], [1.5, -1.0]], [0.7, 0.6, 0.8], [0.5, 0.2, 0.3], schedule)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LIMIT = 5.0
"""Standard errors that a mean may be off: by chance 6e-7 in each component that is looked at."""


def standard_errors(values: Tensor) -> Tensor:
    """The standard error of the mean over the first axis."""
    return values.std(0) / math.sqrt(len(values))


def errors_off(values: Tensor, truth) -> float:
    """How many standard errors the mean over the first axis is away from the truth, in its worst component."""
    return float(((values.mean(0) - truth).abs() / standard_errors(values)).max())
