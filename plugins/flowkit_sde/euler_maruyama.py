"""The Euler-Maruyama method."""

import math

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, randn_like

from .sde_integrator import SDEIntegrator

__all__ = ["EulerMaruyama"]


class EulerMaruyama(SDEIntegrator):
    r"""$x_s = x_t + h\,b_t(x_t) + \sigma_t \sqrt{h}\,\xi$ with $\xi \sim N(0, I)$. Forwards in time only.

    Since sigma_t does not depend on x, the noise is additive and the strong order is 1, not 1/2. The weak order is 1.

    Arguments:
        last_step: The last step of a grid; see `SDEIntegrator`.

    References:
        Kloeden and Platen 1992, Numerical Solution of Stochastic Differential Equations, section 10.2.
    """

    order = 1

    def advance(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None) -> Tensor:
        """One step, one evaluation."""
        sigma = dynamics.diffusion(t)
        x = torch.add(x, dynamics.drift(x, t), alpha=s - t)
        return x + sigma * math.sqrt(s - t) * randn_like(x, generator) if sigma else x
