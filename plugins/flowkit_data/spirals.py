"""Two spirals."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .toy import Toy, jitter

__all__ = ["Spirals"]


class Spirals(Toy):
    r"""Two interleaving Archimedean spirals of one and a half turns, one the other's point reflection.

    With $u \sim U(0, 1)$ and $e \sim N(0, \text{noise}^2 I)$, a point is
    $\pm 2\sqrt u\,(\cos 3\pi\sqrt u, \sin 3\pi\sqrt u) + e$, each sign half of the time. Both coordinates have
    mean 0 and variance about 1: their sum is 2 + 2 noise^2.

    Arguments:
        noise: The standard deviation of e.
        labels: Whether points carry their spiral as the condition y.
    """

    parts = ("first", "second")

    def __init__(self, noise: Annotated[float, Field(ge=0)] = 0.05, labels: bool = False) -> None:
        super().__init__(labels)
        self.noise = noise

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """Along the two arms."""
        way = torch.rand(part.shape, generator=generator).sqrt()
        angle = 3 * math.pi * way
        radius = 2 * way * (1 - 2 * part)
        return jitter(radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1), self.noise, generator)
