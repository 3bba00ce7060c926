"""A stochastic Runge-Kutta method of strong order 3/2."""

import math

from torch import Tensor

from flowkit import Dynamics, Generator, randn_like

from .sde_integrator import SDEIntegrator

__all__ = ["SRK"]


class SRK(SDEIntegrator):
    r"""Roessler's SRA1 for additive noise: two drifts, and the noise with its integral over the step.

    With $I_1 = \int_t^s dW = \sqrt{h}\,\xi_1$ and
    $I_{10} = \int_t^s (W_\tau - W_t)\,d\tau = \tfrac12 h^{3/2} (\xi_1 + \xi_2/\sqrt3)$,

    $$\hat x = x_t + \tfrac34 h\,b_t(x_t) + \tfrac32 \sigma_t \tfrac{I_{10}}{h}, \qquad
    x_s = x_t + \tfrac{h}{3} \left[b_t(x_t) + 2\,b_{t+3h/4}(\hat x)\right]
        + \sigma_t I_1 + \tfrac43 (\sigma_{t+3h/4} - \sigma_t) \left(I_1 - \tfrac{I_{10}}{h}\right).$$

    Strong order 3/2 and weak order 2. SRA1 takes sigma at both ends; here it is taken where the drift is,
    c^(1) = (0, 3/4), which meets the conditions of order as well and looks at nothing at t = 1. Without noise it is
    Ralston's method.

    Arguments:
        last_step: The last step of a grid; see `SDEIntegrator`.

    References:
        Roessler 2010, Runge-Kutta Methods for the Strong Approximation of Solutions of SDEs, SIAM J. Numer. Anal. 48,
        the scheme SRA1 for additive noise and its conditions of order.
        Kloeden and Platen 1992, Numerical Solution of Stochastic Differential Equations, sections 10.4 and 11.2.
    """

    order = 1.5

    def advance(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None) -> Tensor:
        """One step, two evaluations, two draws."""
        h, inside = s - t, t + 3 / 4 * (s - t)
        sigma, later = dynamics.diffusion(t), dynamics.diffusion(inside)
        increment, integral = _noise(x, h, generator) if sigma or later else (0.0, 0.0)
        first = dynamics.drift(x, t)
        second = dynamics.drift(x + 3 / 4 * h * first + 3 / 2 * sigma * integral, inside)
        noise = sigma * increment + 4 / 3 * (later - sigma) * (increment - integral)
        return x + h / 3 * (first + 2 * second) + noise


def _noise(x: Tensor, h: float, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """I_1 and I_10 / h, jointly normal."""
    increment = math.sqrt(h) * randn_like(x, generator)
    return increment, (increment + math.sqrt(h / 3) * randn_like(x, generator)) / 2
