r"""Schedules that add noise to data of full size: $\alpha_t = 1$, and beta from sigma_max to sigma_min.

x_0 is not the noise alone but noise so large that the data drown in it, and x_1 is not the data alone but has noise of
deviation sigma_min left.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Schedule

__all__ = ["EDM", "VarianceExploding"]


class _Exploding(Schedule):
    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        if sigma_max <= sigma_min:
            raise ValueError(f"sigma_max must be greater than sigma_min = {sigma_min}, got {sigma_max}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(t)


class VarianceExploding(_Exploding):
    r"""The VE SDE: $\alpha_t = 1$, $\beta_t = \sigma_{max}^{1-t} \sigma_{min}^t$.

    Arguments:
        sigma_min: beta_1, small against the data.
        sigma_max: beta_0, large against the data: about the greatest distance between two data points.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 31 (times reversed).
        https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self, sigma_min: Annotated[float, Field(gt=0)] = 0.01, sigma_max: Annotated[float, Field(gt=0)] = 50.0
    ) -> None:
        super().__init__(sigma_min, sigma_max)

    def beta(self, t: Tensor) -> Tensor:
        """Geometric from sigma_max to sigma_min."""
        return self.sigma_max ** (1 - t) * self.sigma_min**t

    def beta_dot(self, t: Tensor) -> Tensor:
        """Beta times the constant rate log(sigma_min / sigma_max)."""
        return self.beta(t) * math.log(self.sigma_min / self.sigma_max)

    def log_snr(self, t: Tensor) -> Tensor:
        """Linear in t."""
        return -2 * ((1 - t) * math.log(self.sigma_max) + t * math.log(self.sigma_min))

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Linear in it, from 0 to 1."""
        most = math.log(self.sigma_max)
        return ((most + log_snr / 2) / (most - math.log(self.sigma_min))).clamp(0, 1)


class EDM(_Exploding):
    r"""The noise levels of EDM on data of full size.

    $\alpha_t = 1$, $\beta_t = \left((1-t)\,\sigma_{max}^{1/\rho} + t\,\sigma_{min}^{1/\rho}\right)^\rho$.

    Arguments:
        sigma_min: beta_1.
        sigma_max: beta_0.
        rho: How much of the time goes to small noise.

    References:
        Karras et al. 2022, Elucidating the Design Space, equation 5 and table 1. https://arxiv.org/abs/2206.00364
    """

    def __init__(
        self,
        sigma_min: Annotated[float, Field(gt=0)] = 0.002,
        sigma_max: Annotated[float, Field(gt=0)] = 80.0,
        rho: Annotated[float, Field(ge=1)] = 7.0,
    ) -> None:
        super().__init__(sigma_min, sigma_max)
        self.rho = rho
        self._most, self._least = sigma_max ** (1 / rho), sigma_min ** (1 / rho)

    def _root(self, t: Tensor) -> Tensor:
        return (1 - t) * self._most + t * self._least

    def beta(self, t: Tensor) -> Tensor:
        """Linear in the power 1 / rho."""
        return self._root(t) ** self.rho

    def beta_dot(self, t: Tensor) -> Tensor:
        """By the chain rule."""
        return self.rho * (self._least - self._most) * self._root(t) ** (self.rho - 1)

    def log_snr(self, t: Tensor) -> Tensor:
        """-2 log beta."""
        return -2 * self.rho * self._root(t).log()

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Linear in beta^(1/rho), from 0 to 1."""
        root = torch.exp(-log_snr / (2 * self.rho))
        return ((self._most - root) / (self._most - self._least)).clamp(0, 1)
