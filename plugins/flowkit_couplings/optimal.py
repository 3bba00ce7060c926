"""Exact optimal transport within a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flowkit import Condition

from .assignment import assign_points
from .pairing import Pairing
from .processes import are_several, assign_across

__all__ = ["OptimalCoupling"]


class OptimalCoupling(Pairing):
    r"""The permutation of the batch with the least $\sum_j |x_{0,\pi(j)} - z_j|^2$.

    Every x0 and every z is used once, so both marginals are kept exactly, and the paths cross less: the marginal
    velocity is straighter, and fewer steps sample it. Conditions are not looked at, which skews p(x0|y): for
    conditional models take `conditional_ot`.

    Arguments:
        across_processes: Where several processes share a batch, whether there is one plan for all of it, for which x0
            and z are sent between them in every step; else each has a plan of its share.

    References:
        Tong et al. 2024, Improving and generalizing flow-based generative models with minibatch optimal transport,
        equation 17. https://arxiv.org/abs/2302.00482
        Pooladian et al. 2023, Multisample Flow Matching, section 4.2. https://arxiv.org/abs/2304.14772
    """

    def __init__(self, across_processes: bool = False) -> None:
        self.across_processes = across_processes
        self.ahead = self.together = not across_processes  # what processes send one another must be sent in one order

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The optimal x0 of this process for each z; the z stay in their places."""
        return assign_points(x0[None], z[None])[0], torch.arange(len(z), device=z.device)

    @torch.no_grad()
    def pair(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """The x0 of the plan, each with a z; the z and their conditions stay in their places."""
        if self.across_processes and are_several():
            return assign_across(x0, z), z, y
        ((x0, z, y),) = self.pair_each([(x0, z, y)])
        return x0, z, y

    @torch.no_grad()
    def pair_each(self, batches: Sequence[tuple[Tensor, Tensor, Condition]]) -> list[tuple[Tensor, Tensor, Condition]]:
        """The pairs of a plan for each; the z and their conditions stay in their places."""
        x0, z = (torch.stack(points) for points in zip(*((x0, z) for x0, z, _ in batches), strict=True))
        paired = x0[torch.arange(len(x0), device=x0.device)[:, None], assign_points(x0, z)]
        return [(x0, z, y) for x0, (_, z, y) in zip(paired, batches, strict=True)]
