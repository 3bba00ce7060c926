r"""The schedule of a Gaussian path: alpha_t and beta_t of $p_t(x|z) = N(\alpha_t z, \beta_t^2 I)$."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["Schedule"]


class Schedule(ABC):
    r"""How much data and how much noise there is at time t.

    From noise at t = 0 to data at t = 1: alpha never falls and ends at 1, beta ends at 0, and the signal-to-noise
    ratio alpha_t / beta_t grows strictly. A trace of the data may be left in the noise at t = 0, alpha_0 against
    beta_0, and a trace of noise in the data at t = 1, at most a twentieth each. Times are tensors of any shape; results
    have the shape and dtype of t.

    A subclass gives `alpha` and `beta`. Their time derivatives come from forward-mode automatic
    differentiation unless it overrides them with a closed form.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The coefficient of the data point."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""

    def alpha_dot(self, t: Tensor) -> Tensor:
        """The derivative d alpha / dt."""
        return torch.func.jvp(self.alpha, (t,), (torch.ones_like(t),))[1]

    def beta_dot(self, t: Tensor) -> Tensor:
        """The derivative d beta / dt."""
        return torch.func.jvp(self.beta, (t,), (torch.ones_like(t),))[1]

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha_t^2 / beta_t^2): -inf where alpha is 0, inf where beta is 0."""
        return 2 * (self.alpha(t).log() - self.beta(t).log())

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`, by bisection in float64 to 2^-52; values out of range give 0 or 1."""
        wanted = log_snr.double()
        low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
        for _ in range(52):
            middle = (low + high) / 2
            below = self.log_snr(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high.to(log_snr.dtype)
