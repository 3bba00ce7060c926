"""Distributions of the training time."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import TimeSampler

__all__ = ["UniformTime"]


class UniformTime(TimeSampler):
    """t uniform on (low, high).

    Arguments:
        low: The earliest time.
        high: The latest time.
    """

    def __init__(
        self, low: Annotated[float, Field(ge=0, lt=1)] = 0.0, high: Annotated[float, Field(gt=0, le=1)] = 1.0
    ) -> None:
        if low >= high:
            raise ValueError(f"low must be less than high = {high}, got {low}")
        self.low, self.high = low, high

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Uniform draws, shape (n,), 0 and 1 left out: the fields may be infinite there."""
        t = self.low + (self.high - self.low) * torch.rand(n, generator=generator, device=device, dtype=dtype)
        gap = torch.finfo(dtype).eps
        return t.clamp(max(self.low, gap), min(self.high, 1 - gap))
