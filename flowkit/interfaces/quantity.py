"""The fields that a model may predict and a path may know."""

from enum import Enum

__all__ = ["Quantity"]


class Quantity(Enum):
    """What a value at (x, t) means. For a Gaussian path x = alpha_t z + beta_t eps, given x and t,
    any one of them determines the others.
    """

    VELOCITY = "velocity"
    """u_t(x), the drift of the sampling ODE."""
    SCORE = "score"
    """s_t(x) = grad log p_t(x)."""
    NOISE = "noise"
    """E[eps | x_t = x], the mean of the noise."""
    DATA = "data"
    """E[z | x_t = x], the posterior mean of the data point (the denoiser)."""
    V = "v"
    """alpha_t E[eps | x_t = x] - beta_t E[z | x_t = x], the "v" of Salimans and Ho 2022."""
