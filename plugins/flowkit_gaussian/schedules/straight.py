"""Schedules along which a data point and its noise are joined by a straight line."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Schedule

__all__ = ["CondOT", "Polynomial", "Target"]


class CondOT(Schedule):
    r"""Straight lines: $\alpha_t = t$, $\beta_t = 1 - t$.

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, example II with sigma_min = 0.
        https://arxiv.org/abs/2210.02747
    """

    def alpha(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def beta(self, t: Tensor) -> Tensor:
        """What is left of it."""
        return 1 - t

    def alpha_dot(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Minus one."""
        return -torch.ones_like(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """2 logit(t)."""
        return 2 * torch.logit(t)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The logistic function of half of it."""
        return torch.sigmoid(log_snr / 2)


class Target(Schedule):
    r"""Straight lines that end in a little noise: $\alpha_t = t$, $\beta_t = 1 - (1 - \sigma_{min})\,t$.

    The end x_1 is the data point plus noise of deviation sigma_min.

    Arguments:
        sigma_min: beta_1.

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, equation 20. https://arxiv.org/abs/2210.02747
    """

    def __init__(self, sigma_min: Annotated[float, Field(gt=0, lt=1)] = 1e-4) -> None:
        self.sigma_min = sigma_min

    def alpha(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def beta(self, t: Tensor) -> Tensor:
        """From 1 to sigma_min, written such that nothing cancels near t = 1."""
        return (1 - t) + self.sigma_min * t

    def alpha_dot(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def beta_dot(self, t: Tensor) -> Tensor:
        """-(1 - sigma_min)."""
        return torch.full_like(t, self.sigma_min - 1)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """With p the logistic function of half of it, p / (1 - sigma_min p); at most 1."""
        p = torch.sigmoid(log_snr / 2)
        return (p / (1 - self.sigma_min * p)).clamp(max=1)


class Polynomial(Schedule):
    r"""Straight lines at an uneven pace: $\alpha_t = t^n$, $\beta_t = 1 - t^n$.

    For n > 1 it starts from rest: at t = 0 the velocity is 0 and tells nothing of the data.

    Arguments:
        n: The power; 1 is CondOT.

    References:
        Lipman et al. 2024, Flow Matching Guide and Code, section 4.8 (`PolynomialConvexScheduler`).
        https://arxiv.org/abs/2412.06264
    """

    def __init__(self, n: Annotated[float, Field(ge=1)] = 2.0) -> None:
        self.n = n

    def alpha(self, t: Tensor) -> Tensor:
        """The time to the power of n."""
        return t**self.n

    def beta(self, t: Tensor) -> Tensor:
        """What is left of it, without cancellation near t = 1."""
        return -torch.expm1(self.n * t.log())

    def alpha_dot(self, t: Tensor) -> Tensor:
        """N times t^(n - 1)."""
        return self.n * t ** (self.n - 1)

    def beta_dot(self, t: Tensor) -> Tensor:
        """The same, downwards."""
        return -self.alpha_dot(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """Twice the logarithm of t^n / (1 - t^n)."""
        return 2 * (self.n * t.log() - self.beta(t).log())

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The n-th root of the logistic function of half of it."""
        return torch.sigmoid(log_snr / 2) ** (1 / self.n)
