"""Times: how training draws them, and where sampling steps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .path import Path

__all__ = ["TimeGrid", "TimeSampler"]


class TimeSampler(ABC):
    """The distribution of t in a training batch, on the open interval (0, 1)."""

    @abstractmethod
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """`n` times, shape (n,)."""


class TimeGrid(ABC):
    """The times at which a sampler steps."""

    @abstractmethod
    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """Strictly increasing times, float64 of shape (steps + 1,), on the CPU."""

    def problems(self, path: Path) -> list[str]:
        """Why this grid does not go with that path; asked when a pipeline is built."""
        del path
        return []
