"""A pinwheel."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .toy import Toy

__all__ = ["Pinwheel"]


class Pinwheel(Toy):
    r"""Five normal distributions, bent into the arms of a pinwheel.

    With $a \sim N(1, 0.3^2)$ along an arm and $b \sim N(0, \text{noise}^2)$ across it, the point (a, b) is
    turned by the angle $2\pi k/5 + e^a/4$, k being the arm, and scaled by $\sqrt2$. Both coordinates have mean 0
    and variance 1.09 + noise^2.

    Arguments:
        noise: The standard deviation of b.
        labels: Whether points carry their arm k as the condition y.

    References:
        Johnson et al. 2016, Composing graphical models with neural networks.
        https://arxiv.org/abs/1603.06277
    """

    parts = ("arm 0", "arm 1", "arm 2", "arm 3", "arm 4")

    def __init__(self, noise: Annotated[float, Field(ge=0)] = 0.1, labels: bool = False) -> None:
        super().__init__(labels)
        self.noise = noise

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """On the five arms."""
        along, across = torch.randn((2, *part.shape), generator=generator)
        along, across = 1 + 0.3 * along, self.noise * across
        angle = part * (2 * math.pi / 5) + along.exp() / 4
        cos, sin = angle.cos(), angle.sin()
        return math.sqrt(2) * torch.stack([along * cos - across * sin, along * sin + across * cos], dim=1)
