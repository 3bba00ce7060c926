"""The Euler-Maruyama method."""

import math

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, Integrator, randn_like

__all__ = ["EulerMaruyama"]


class EulerMaruyama(Integrator):
    r"""$x_s = x_t + h\,b_t(x_t) + \sigma_t \sqrt{h}\,\xi$ with $\xi \sim N(0, I)$. Forwards in time only.

    Since sigma_t does not depend on x, the noise is additive and the strong order is 1, not 1/2.

    References:
        Kloeden and Platen 1992, Numerical Solution of Stochastic Differential Equations, section 10.2.
    """

    order = 1
    stochastic = True

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, one evaluation."""
        if s < t:
            raise ValueError(f"an SDE is solved forwards in time, not from {t} to {s}")
        sigma = dynamics.diffusion(t)
        x = torch.add(x, dynamics.drift(x, t), alpha=s - t)
        return x + sigma * math.sqrt(s - t) * randn_like(x, generator) if sigma else x
