"""The product coupling."""

import torch
from torch import Tensor

from flowkit import Condition

from .pairing import Pairing

__all__ = ["IndependentCoupling"]


class IndependentCoupling(Pairing):
    """q(x0, z) = p_init(x0) p_data(z): every pair as it was drawn."""

    independent = True
    ahead = False

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Every x0 with the z at its own place."""
        index = torch.arange(len(z), device=z.device)
        return index, index

    def pair(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """The batch unchanged."""
        return x0, z, y
