"""A checkerboard."""

import torch
from torch import Tensor

from .toy import Toy

__all__ = ["Checkerboard"]


class Checkerboard(Toy):
    """The uniform distribution on the eight dark squares of a 4 x 4 board on [-2, 2]^2.

    The square with its lower left corner at (i, j) is dark where i + j is even. Both coordinates have mean 0
    and variance 4/3.

    Arguments:
        labels: Whether points carry the number of their square as the condition y.
    """

    corners = tuple((i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0)
    parts = tuple(f"({i}, {j})" for i, j in corners)

    def points(self, part: Tensor, generator: torch.Generator | None) -> Tensor:
        """Anywhere on the squares."""
        corner = torch.tensor(self.corners, dtype=torch.float32)
        return corner[part] + torch.rand((len(part), 2), generator=generator)
