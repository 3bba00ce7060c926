"""DPM-Solver++(2S)."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from flowkit import Dynamics, Generator

from .exponential import ExponentialIntegrator, Grid, constant_weight

__all__ = ["DPMpp2S"]


class DPMpp2S(ExponentialIntegrator):
    r"""The exponential midpoint rule: DDIM to the middle of the step in lambda, then the whole step with D there.

    $$u = \frac{\beta_m}{\beta_t} x_t + \alpha_m (1 - e^{-h/2}) D(x_t, t), \qquad
      x_s = \frac{\beta_s}{\beta_t} x_t + \alpha_s (1 - e^{-h}) D(u, m), \qquad
      \lambda_m = \frac{\lambda_t + \lambda_s}{2}.$$

    A step with an infinite end has no middle and is a step of DDIM.

    References:
        Lu et al. 2022, DPM-Solver++, algorithm 1 with r = 1/2. https://arxiv.org/abs/2211.01095
    """

    order = 2

    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`, which rise or fall; two evaluations a step, one at an infinite end."""
        schedule, ends = self.schedule(dynamics), self.grid(dynamics, times)
        log_snr = [t + s for t, s in pairwise(ends.log_ratio)]  # 2 lambda_m
        middles = Grid.of(schedule, schedule.time_of_log_snr(torch.tensor(log_snr, dtype=torch.float64)))
        yield x
        for i, h in enumerate(ends.lengths()):
            data, x = self.begin(dynamics, x, ends, i)
            if math.isfinite(h):
                half = constant_weight(middles.alpha[i], middles.log_ratio[i] - ends.log_ratio[i])
                middle = (middles.beta[i] / ends.beta[i]) * x + half * data
                (data,) = dynamics.predict(middle, middles.times[i], self.needs)
            x = ends.decay(i) * x + ends.constant_weight(i) * data
            yield x
