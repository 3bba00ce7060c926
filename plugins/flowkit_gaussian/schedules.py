r"""Schedules of the path $N(\alpha_t z, \beta_t^2 I)$, with closed-form derivatives."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Schedule

__all__ = ["CondOT", "Cosine", "VariancePreserving"]


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


class Cosine(Schedule):
    r"""A quarter turn of constant variance: $\alpha_t = \sin(\pi t/2)$, $\beta_t = \cos(\pi t/2)$.

    References:
        Nichol and Dhariwal 2021, Improved DDPM, section 3.2 (offset 0). https://arxiv.org/abs/2102.09672
        Ma et al. 2024, SiT, section 2.4 (GVP). https://arxiv.org/abs/2401.08740
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Sine of the angle."""
        return torch.sin(t * (math.pi / 2))

    def beta(self, t: Tensor) -> Tensor:
        """Cosine of the angle, as the sine of what is left, so that it is 0 at t = 1 exactly."""
        return torch.sin((1 - t) * (math.pi / 2))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.beta(t) * (math.pi / 2)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.alpha(t) * (-math.pi / 2)


class VariancePreserving(Schedule):
    r"""The VP SDE with a rate that is linear in the time $\tau = 1 - t$ since the data.

    $\log\alpha_t = -\tau^2 (r_1 - r_0)/4 - \tau r_0/2$ and $\beta_t = \sqrt{1 - \alpha_t^2}$. At t = 0 a
    trace of the data is left, alpha_0 = 0.0066 with the defaults; at t = 1 the derivative of beta is -inf.

    Arguments:
        rate_min: r_0, the rate at the data.
        rate_max: r_1, the rate at the noise.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 33 (times reversed).
        https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self,
        rate_min: Annotated[float, Field(gt=0)] = 0.1,
        rate_max: Annotated[float, Field(gt=0)] = 20.0,
    ) -> None:
        if rate_max < rate_min:
            raise ValueError(f"rate_max must be at least rate_min = {rate_min}, got {rate_max}")
        self.rate_min, self.rate_max = rate_min, rate_max

    def _log_alpha(self, t: Tensor) -> Tensor:
        tau = 1 - t
        return -(tau**2) * (self.rate_max - self.rate_min) / 4 - tau * self.rate_min / 2

    def alpha(self, t: Tensor) -> Tensor:
        """Exponential of minus half the integrated rate."""
        return self._log_alpha(t).exp()

    def beta(self, t: Tensor) -> Tensor:
        """Such that alpha^2 + beta^2 = 1, without cancellation near t = 1."""
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t)))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Half the rate times alpha."""
        rate = self.rate_min + (1 - t) * (self.rate_max - self.rate_min)
        return self.alpha(t) * rate / 2

    def beta_dot(self, t: Tensor) -> Tensor:
        """-alpha alpha_dot / beta, which is -inf at t = 1."""
        return -self.alpha(t) * self.alpha_dot(t) / self.beta(t)
