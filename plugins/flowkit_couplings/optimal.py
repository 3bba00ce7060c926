"""Exact optimal transport within a batch."""

import torch
from torch import Tensor

from flowkit import Condition

from .assignment import assign
from .cost import squared_distances
from .pairing import Pairing

__all__ = ["OptimalCoupling"]


class OptimalCoupling(Pairing):
    r"""The permutation of the batch with the least $\sum_j |x_{0,\pi(j)} - z_j|^2$.

    Every x0 and every z is used once, so both marginals are kept exactly, and the paths cross less: the marginal
    velocity is straighter, and fewer steps sample it. Conditions are not looked at, which skews p(x0|y): for
    conditional models take `conditional_ot`.

    References:
        Tong et al. 2024, Improving and generalizing flow-based generative models with minibatch optimal transport,
        section 4.2. https://arxiv.org/abs/2302.00482
        Pooladian et al. 2023, Multisample Flow Matching, section 3. https://arxiv.org/abs/2304.14772
    """

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The optimal x0 for each z; the z stay in their places."""
        return assign(squared_distances(z, x0)), torch.arange(len(z), device=z.device)
