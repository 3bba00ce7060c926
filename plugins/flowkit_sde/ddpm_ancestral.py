"""Ancestral sampling: DDPM, and DDIM with noise."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, Generator, Quantity, UnsupportedError, randn_like

from .gaussian_integrator import GaussianIntegrator
from .schedule import Level, levels_of

__all__ = ["DDPMAncestral"]


class _Step(NamedTuple):
    """x_s = kept x_t + added D + noise xi."""

    kept: float
    added: float
    noise: float


class DDPMAncestral(GaussianIntegrator):
    r"""Draws from $q(x_s | x_t, z)$ of the forward process, with $D = E[z|x_t]$ in the place of z.

    $$x_s = \alpha_s D + \sqrt{\beta_s^2 - \eta^2 \tilde\beta^2}\; \frac{x_t - \alpha_t D}{\beta_t}
        + \eta \tilde\beta\, \xi, \qquad
    \tilde\beta^2 = \beta_s^2 \left(1 - \frac{\alpha_t^2 \beta_s^2}{\alpha_s^2 \beta_t^2}\right).$$

    With eta = 1 this is DDPM, whose limit for short steps is the SDE with the coefficient `sbdm`; with eta = 0 it is
    DDIM, a first-order method for the ODE, which goes backwards too, if not from beta = 0. Weak order 1. The last step,
    to beta = 0, is D.

    Arguments:
        eta: How much of the noise; 0 draws none.
        variance: `small` is that of q(x_s | x_t, z), right for data that are one point; `large` that of the forward
            step, beta_t^2 - alpha_t^2 beta_s^2 / alpha_s^2, right for standard normal data where
            alpha^2 + beta^2 = 1. Both have the same limit.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, equations 6, 7 and section 3.2.
        https://arxiv.org/abs/2006.11239
        Song et al. 2021, Denoising Diffusion Implicit Models, equations 12 and 16. https://arxiv.org/abs/2010.02502
    """

    order = 1

    def __init__(
        self,
        eta: Annotated[float, Field(ge=0, le=1)] = 1.0,
        variance: Literal["small", "large"] = "small",
    ) -> None:
        if variance == "large" and eta != 1:
            raise ValueError(f"variance 'large' goes with eta = 1 only, got eta = {eta}: set variance to 'small'")
        self.eta, self.variance = eta, variance
        self.stochastic = eta > 0

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """One evaluation a step, at its start.

        Raises:
            UnsupportedError: The dynamics have no Gaussian path, or a step leads away from beta = 0.
            ValueError: Noise would be added backwards in time.
        """
        found = levels_of(dynamics, times, backwards=not self.stochastic)
        steps = [self._coefficients(now, then) for now, then in pairwise(found)]
        yield x
        for now, step in zip(found, steps, strict=False):
            (data,) = dynamics.predict(x, now.t, (Quantity.DATA,))
            x = step.kept * x + step.added * data
            x = x + step.noise * randn_like(x, generator) if step.noise else x
            yield x

    def _coefficients(self, now: Level, then: Level) -> _Step:
        if now.beta == 0:
            raise UnsupportedError(
                f"{type(self).__name__} does not lead away from t = {now.t:g}, where E[z|x] says nothing of the noise: "
                "'ddim' does, the same method with eta = 0"
            )
        share = _drawn_anew(now, then) if self.stochastic else 0.0
        kept = then.beta / now.beta * math.sqrt(1 - self.eta**2 * share)
        noise = self.eta * (then.beta if self.variance == "small" else now.beta) * math.sqrt(share)
        return _Step(kept, then.alpha - kept * now.alpha, noise if then.beta else 0.0)


def _drawn_anew(now: Level, then: Level) -> float:
    """The share of beta_s^2 that q(x_s | x_t, z) has."""
    ratio = now.alpha * then.beta / (then.alpha * now.beta)
    return max((1 - ratio) * (1 + ratio), 0.0)
