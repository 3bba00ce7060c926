"""Eight Gaussians on a circle."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .toy import Toy, jitter

__all__ = ["EightGaussians"]


class EightGaussians(Toy):
    r"""The mixture $\frac18 \sum_k N(\sqrt2 (\cos\frac{k\pi}4, \sin\frac{k\pi}4), \text{noise}^2 I)$.

    Both coordinates have mean 0 and variance 1 + noise^2.

    Arguments:
        noise: The standard deviation of each component.
        labels: Whether points carry their component k as the condition y.
    """

    parts = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")

    def __init__(self, noise: Annotated[float, Field(ge=0)] = 0.1, labels: bool = False) -> None:
        super().__init__(labels)
        self.noise = noise

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """Around the eight centres."""
        angle = part * (math.pi / 4)
        centre = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1)
        return jitter(centre, self.noise, generator)
