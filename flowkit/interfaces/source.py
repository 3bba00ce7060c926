"""p_init: where paths start."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UnsupportedError
from .data import Normalization

__all__ = ["Source"]


class Source(ABC):
    """The distribution of x0 at t = 0."""

    standard_normal: ClassVar[bool] = False
    """Whether x0 ~ N(0, I), which a Gaussian path needs."""

    @abstractmethod
    def sample(
        self,
        n: int,
        event_shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """`n` independent draws, shape (n, *event_shape). The generator lives on `device`."""

    def problems(self, event_shape: tuple[int, ...]) -> list[str]:
        """Why this gives no x0 for data of this shape."""
        del event_shape
        return []

    @property
    def normalization(self) -> Normalization:
        """The units in which a user has x0, if they are not those of the model. Draws are in the model's."""
        return Normalization.identity()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats, shape (batch,).

        Raises:
            UnsupportedError: The density is not known.
        """
        raise UnsupportedError(f"{type(self).__name__} has no log_prob, so neither has a model that starts from it")
