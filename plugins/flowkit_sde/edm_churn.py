"""The stochastic sampler of Karras et al. 2022."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, Generator, Quantity, randn_like

from .gaussian_integrator import GaussianIntegrator
from .schedule import Level, levels, levels_of, schedule_of

__all__ = ["EDMChurn"]


class EDMChurn(GaussianIntegrator):
    r"""A step back along the forward process, then a step of Heun for the ODE in $\sigma = \beta/\alpha$.

    With $\hat\sigma = (1 + \gamma)\,\sigma_t$ at the earlier time $\hat t$, and $N = (x - \alpha D)/\beta$,

    $$\hat x = \frac{\hat\alpha}{\alpha_t} x_t
        + s_{noise} \sqrt{\hat\beta^2 - \frac{\hat\alpha^2}{\alpha_t^2} \beta_t^2}\; \xi, \qquad
    \frac{x_s}{\alpha_s} = \frac{\hat x}{\hat\alpha} + (\sigma_s - \hat\sigma)\, \frac{\hat N + N_s}{2},$$

    where $N_s$ is found by a step with $\hat N$ alone. That step is the last, at $\sigma_s = 0$, and the first where
    alpha = 0 and sigma is infinite. $\gamma = \min(s_{churn}/n, \sqrt2 - 1)$ on a grid of n steps.

    This is algorithm 2 with x / alpha_t for its x, on any schedule. The noise is undone by a longer step, so it
    corrects earlier errors and keeps the marginals. With s_churn = 0 nothing is drawn, and the order is 2 in sigma.

    Arguments:
        s_churn: How much noise, in all.
        s_min: The smallest sigma at which there is any.
        s_max: The largest.
        s_noise: Its scale; a little above 1 makes up for models that remove too much.

    References:
        Karras et al. 2022, Elucidating the Design Space, algorithm 2 and table 5. https://arxiv.org/abs/2206.00364
    """

    order = 1

    def __init__(
        self,
        s_churn: Annotated[float, Field(ge=0)] = 40.0,
        s_min: Annotated[float, Field(ge=0)] = 0.05,
        s_max: Annotated[float, Field(gt=0)] = 50.0,
        s_noise: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        if s_min > s_max:
            raise ValueError(f"s_min must be at most s_max = {s_max}, got {s_min}")
        self.s_churn, self.s_min, self.s_max, self.s_noise = s_churn, s_min, s_max, s_noise

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """Two evaluations a step, one where sigma is infinite or 0."""
        found = levels_of(dynamics, times)
        yield x
        for now, raised, then in zip(found[:-1], self._raised(dynamics, found), found[1:], strict=True):
            x = _heun(dynamics, self._churn(x, now, raised, generator), raised, then)
            yield x

    def _raised(self, dynamics: Dynamics, found: list[Level]) -> list[Level]:
        """The level that each step starts from: with sigma (1 + gamma), but none before t = 0."""
        starts = found[:-1]
        gamma = min(self.s_churn / max(len(starts), 1), math.sqrt(2) - 1)
        churned = [self.s_min * at.alpha <= at.beta <= self.s_max * at.alpha for at in starts]
        if gamma == 0 or not any(churned):
            return starts
        schedule = schedule_of(dynamics.path)
        grid = torch.tensor([at.t for at in starts], dtype=torch.float64)
        earlier = schedule.time_of_log_snr(schedule.log_snr(grid) - 2 * math.log1p(gamma))
        return [b if use else a for a, b, use in zip(starts, levels(schedule, earlier), churned, strict=True)]

    def _churn(self, x: Tensor, now: Level, raised: Level, generator: Generator | None) -> Tensor:
        if raised.t >= now.t or not now.alpha:
            return x
        scale = raised.alpha / now.alpha
        variance = (raised.beta - scale * now.beta) * (raised.beta + scale * now.beta)
        return scale * x + self.s_noise * math.sqrt(max(variance, 0.0)) * randn_like(x, generator)


def _heun(dynamics: Dynamics, x: Tensor, now: Level, then: Level) -> Tensor:
    """From one level to the next along the ODE."""
    (data,) = dynamics.predict(x, now.t, (Quantity.DATA,))
    kept = then.beta / now.beta
    euler = kept * x + (then.alpha - kept * now.alpha) * data
    if not then.beta or not now.alpha:
        return euler
    (later,) = dynamics.predict(euler, then.t, (Quantity.DATA,))
    first, second = (x - now.alpha * data) / now.beta, (euler - then.alpha * later) / then.beta
    # x_s / alpha_s changes by (sigma_s - sigma) (second - first) / 2 against the step of Euler.
    return euler + (then.beta - then.alpha * now.beta / now.alpha) / 2 * (second - first)
