"""The pairs that the data come in."""

import torch
from torch import Tensor

from flowkit import Condition, DataSpec

from .pairing import Pairing

__all__ = ["GivenCoupling"]


class GivenCoupling(Pairing):
    """q(x0, z) is that of the data: every x0 stays with the z that it came with.

    Such as a noisy and a clean image, or a starting point and where another model carried it (reflow).

    References:
        Liu et al. 2023, Flow Straight and Fast, section 2.1. https://arxiv.org/abs/2209.03003
    """

    ahead = False

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Every x0 with the z at its own place."""
        index = torch.arange(len(z), device=z.device)
        return index, index

    def problems(self, spec: DataSpec) -> list[str]:
        """There must be pairs."""
        if spec.paired:
            return []
        return ["'given' keeps the pairs (x0, z) that data come in, and these data have no x0 (array: data.x0)"]
