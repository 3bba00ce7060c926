"""Two circles."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .toy import Toy, jitter

__all__ = ["Circles"]


class Circles(Toy):
    r"""Two concentric circles about the origin, of radius 2 and 1, equally likely, plus $N(0, \text{noise}^2 I)$.

    Both coordinates have mean 0 and variance 5/4 + noise^2.

    Arguments:
        noise: The standard deviation about the circles.
        labels: Whether points carry their circle, 0 the outer and 1 the inner, as the condition y.
    """

    parts = ("outer", "inner")

    def __init__(self, noise: Annotated[float, Field(ge=0)] = 0.05, labels: bool = False) -> None:
        super().__init__(labels)
        self.noise = noise

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """Around the two circles."""
        angle = 2 * math.pi * torch.rand(part.shape, generator=generator)
        circle = torch.stack([angle.cos(), angle.sin()], dim=1)
        return jitter((2 - part)[:, None] * circle, self.noise, generator)
