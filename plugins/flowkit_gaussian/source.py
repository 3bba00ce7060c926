"""The standard normal distribution as p_init."""

import math

import torch
from torch import Tensor

from flowkit import Source

__all__ = ["GaussianSource"]


class GaussianSource(Source):
    """x0 ~ N(0, I)."""

    standard_normal = True

    def sample(
        self,
        n: int,
        event_shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Standard normal draws, shape (n, *event_shape)."""
        return torch.randn((n, *event_shape), generator=generator, device=device, dtype=dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """-|x|^2/2 - d/2 log(2 pi), shape (batch,)."""
        x = x.flatten(1)
        return -0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
