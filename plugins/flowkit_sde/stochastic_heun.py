"""Heun's method for an SDE with additive noise."""

import math

from torch import Tensor

from flowkit import Dynamics, Generator, randn_like

from .sde_integrator import SDEIntegrator

__all__ = ["StochasticHeun"]


class StochasticHeun(SDEIntegrator):
    r"""A step of Euler-Maruyama, then the mean of the drifts at both ends, with the same noise.

    $$\hat x = x_t + h\,b_t(x_t) + \nu, \qquad
    x_s = x_t + \tfrac{h}{2}\left[b_t(x_t) + b_s(\hat x)\right] + \nu, \qquad
    \nu = \sigma_{(t+s)/2} \sqrt{h}\,\xi.$$

    Strong order 1 and weak order 2: the drift at the end sees the noise, which gives half of h^2 b' sigma^2 to the
    covariance, as it should be. (With the noise added before both drifts it would be all of it, and the weak order 1.)
    The drift at t = 1 has a score that most models lack, so the step to there is the predictor alone; one step of
    local order h^2 leaves the orders what they are. Without noise it is Heun's method for the ODE.

    Arguments:
        last_step: The last step of a grid; see `SDEIntegrator`.

    References:
        Kloeden and Platen 1992, Numerical Solution of Stochastic Differential Equations, sections 14.2 and 15.5.
        Ma et al. 2024, SiT, the method `Heun` of its SDE sampler, which adds the noise before both drifts.
        https://arxiv.org/abs/2401.08740
    """

    order = 1

    def advance(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None) -> Tensor:
        """One step, two evaluations; one to t = 1."""
        h, sigma = s - t, dynamics.diffusion((t + s) / 2)
        noise = sigma * math.sqrt(h) * randn_like(x, generator) if sigma else 0.0
        first = dynamics.drift(x, t)
        predicted = x + h * first + noise
        if s >= 1:
            return predicted
        return x + h / 2 * (first + dynamics.drift(predicted, s)) + noise
