"""SDE-DPM-Solver++."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from flowkit import Dynamics, Generator, Quantity, randn_like

from .gaussian_integrator import GaussianIntegrator
from .schedule import Level, levels_of

__all__ = ["DPMppSDE"]


class _Step(NamedTuple):
    """x_s = kept x_t + added [D + slope (D - D_before)] + noise xi."""

    kept: float
    added: float
    slope: float
    noise: float


class DPMppSDE(GaussianIntegrator):
    r"""SDE-DPM-Solver++(2M): the SDE of `sbdm` in the log-SNR, solved exactly but for D, which two steps extrapolate.

    With $\lambda = \log(\alpha/\beta)$, $h = \lambda_s - \lambda_t$, $h'$ the h of the step before, and D' its data
    point,

    $$x_s = \frac{\beta_s}{\beta_t} e^{-h} x_t
        + \alpha_s (1 - e^{-2h}) \left[D + \frac{h}{2h'} (D - D')\right] + \beta_s \sqrt{1 - e^{-2h}}\; \xi.$$

    Without the second term in brackets it is SDE-DPM-Solver++(1), which is `ddpm_ancestral`: so is the first step,
    for want of an earlier one, the second after alpha = 0, and the last, to beta = 0, where h is infinite.
    Weak order 2.

    References:
        Lu et al. 2022, DPM-Solver++, the solvers of diffusion SDEs (SDE-DPM-Solver++(2M)).
        https://arxiv.org/abs/2211.01095
    """

    order = 1

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """One evaluation a step, at its start."""
        found = levels_of(dynamics, times)
        before: Tensor | None = None
        yield x
        for now, step in zip(found, _coefficients(found), strict=False):
            (data,) = dynamics.predict(x, now.t, (Quantity.DATA,))
            x = step.kept * x + step.added * data
            if before is not None and step.slope:
                x = x + step.added * step.slope * (data - before)
            x = x + step.noise * randn_like(x, generator) if step.noise else x
            before = data
            yield x


def _coefficients(found: list[Level]) -> list[_Step]:
    steps, before = [], math.inf
    for now, then in pairwise(found):
        decay = now.alpha * then.beta / (then.alpha * now.beta)  # e^-h
        h = -math.log(decay) if decay else math.inf
        share = max((1 - decay) * (1 + decay), 0.0)
        # An infinite h extrapolates to nowhere, and from an infinite h' nothing is left to extrapolate.
        slope = h / (2 * before) if before > 0 and h < math.inf else 0.0
        steps.append(_Step(then.beta / now.beta * decay, then.alpha * share, slope, then.beta * math.sqrt(share)))
        before = h
    return steps
