"""Couplings that choose pairs by their places in the batch."""

from abc import abstractmethod

import torch
from torch import Tensor

from flowkit import Condition, Coupling, select_condition

__all__ = ["Pairing"]


class Pairing(Coupling):
    """Pairs (x0_i, z_j) within a batch, of which `pairing` says i and j."""

    ahead = True

    @abstractmethod
    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Which x0 goes with which z.

        Arguments:
            x0: Draws of p_init, shape (batch, *event).
            z: Data points, shape (batch, *event).
            y: Their conditions.
            generator: The source of any randomness, on the device of z.

        Returns:
            i and j, int64 of shape (batch,): x0[i] goes with z[j] and the condition of z[j].
        """

    @torch.no_grad()
    def pair(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """x0[i], z[j] and y[j]."""
        i, j = self.pairing(x0, z, y, generator)
        return x0[i], z[j], select_condition(y, j)
