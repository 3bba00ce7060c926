"""Two moons."""

import math
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Normalization

from .toy import Toy, jitter

__all__ = ["Moons"]


class Moons(Toy):
    r"""Two interleaving half circles, with the geometry of scikit-learn's `make_moons`.

    With an angle $a \sim U(0, \pi)$ and $e \sim N(0, \text{noise}^2 I)$, a point is

    $$(\cos a, \sin a) + e \quad\text{or}\quad (1 - \cos a, \tfrac12 - \sin a) + e,$$

    each half of the time. (scikit-learn spaces the angles evenly instead of drawing them.) Its mean is
    (1/2, 1/4) and its variances are 3/4 and 9/16 - 1/pi, plus noise^2. The model sees it shifted by the mean
    and divided by the root of the mean variance, one number for both coordinates: the figure keeps its shape.

    Arguments:
        noise: The standard deviation of e.
        labels: Whether points carry their moon, 0 the upper and 1 the lower, as the condition y.
    """

    parts = ("upper", "lower")

    def __init__(self, noise: Annotated[float, Field(ge=0)] = 0.05, labels: bool = False) -> None:
        super().__init__(labels)
        self.noise = noise

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """On the two half circles."""
        angle = math.pi * torch.rand(part.shape, generator=generator)
        upper = torch.stack([angle.cos(), angle.sin()], dim=1)
        lower = torch.tensor([1.0, 0.5]) - upper
        return jitter(torch.where(part[:, None] == 0, upper, lower), self.noise, generator)

    @cached_property
    def normalization(self) -> Normalization:
        """Mean 0, and variances of mean 1."""
        variance = (3 / 4 + 9 / 16 - 1 / math.pi) / 2 + self.noise**2
        return Normalization(torch.tensor([0.5, 0.25]), torch.tensor(math.sqrt(variance)))
