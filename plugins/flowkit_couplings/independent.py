"""The product coupling."""

import torch
from torch import Tensor

from flowkit import Condition, Coupling

__all__ = ["IndependentCoupling"]


class IndependentCoupling(Coupling):
    """q(x0, z) = p_init(x0) p_data(z): every pair as it was drawn."""

    def pair(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """The batch unchanged."""
        return x0, z, y
