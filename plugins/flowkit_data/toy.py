"""What the toys of the plane have in common."""

from abc import abstractmethod

import torch
from torch import Tensor

from flowkit import Batch, DataSource, DataSpec

__all__ = ["Toy", "jitter"]


class Toy(DataSource):
    """A figure in the plane, made of parts that are equally likely; every draw is fresh.

    Arguments:
        labels: Whether points carry the number of their part as the condition y.
    """

    parts: tuple[str, ...]
    """What the parts of the figure are called."""

    def __init__(self, labels: bool = False) -> None:
        self.labels = labels

    @property
    def spec(self) -> DataSpec:
        """Two coordinates, and as many classes as parts where they are asked for."""
        return DataSpec((2,), len(self.parts), self.parts) if self.labels else DataSpec((2,))

    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """A part for every point, then a point on every part."""
        part = torch.randint(len(self.parts), (n,), generator=generator)
        return Batch(self.points(part, generator), part if self.labels else None)

    @abstractmethod
    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """One point on each of the given parts.

        Arguments:
            part: int64, shape (n,).
            generator: Where the randomness comes from.

        Returns:
            Shape (n, 2).
        """


def jitter(points: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
    """The points moved by N(0, noise^2 I), shape (n, 2)."""
    return points + noise * torch.randn(points.shape, generator=generator)
