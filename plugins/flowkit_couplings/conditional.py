"""Optimal transport that leaves x0 independent of the condition."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition

from .assignment import assign
from .cost import squared_distances
from .pairing import Pairing

__all__ = ["ConditionalOptimalCoupling"]


class ConditionalOptimalCoupling(Pairing):
    r"""Optimal transport that moves x0 only between data points of the same, or of a similar, condition.

    A conditional model is sampled with x0 ~ p_init whatever the condition, so training must keep p(x0|y) = p_init(x0).
    As drawn, x0_i goes with z_i and with its condition y_i, of which it is independent. The permutation minimises

    $$\sum_j |x_{0,\pi(j)} - z_j|^2 + w\, |y_{\pi(j)} - y_j|^2,$$

    where w is infinite for conditions of whole numbers: there is one transport problem for each label, and p(x0|y) is
    kept exactly. For real conditions w is finite and p(x0|y) is kept as well as w is large. It is chosen for each
    batch so that a given share of all exchanges beats the pairs as drawn,

    $$|x_{0,i} - z_j|^2 + w\,|y_i - y_j|^2 \le |x_{0,j} - z_j|^2.$$

    Of a mapping of conditions the whole numbers must agree, and the real ones are taken together. Samples without
    a condition (-1 or NaN, from `training.condition_dropout`) are exchanged among themselves. Without conditions this
    is `ot`.

    Arguments:
        candidates: The share of exchanges, for real conditions; the fewer, the less skewed p(x0|y) is.

    References:
        Cheng and Schwing 2025, The Curse of Conditions (C²OT). https://arxiv.org/abs/2503.10636
        Kerrigan et al. 2024, Dynamic Conditional Optimal Transport through Simulation-Free Flows.
        https://arxiv.org/abs/2404.04240
    """

    def __init__(self, candidates: Annotated[float, Field(gt=0, lt=1)] = 0.01) -> None:
        self.candidates = candidates

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """The chosen x0 for each z; the z stay in their places."""
        labels, numbers = _labels_and_numbers(y, z)
        cost = squared_distances(z, x0).cpu()
        apart = None if numbers is None else _squared_distances_of_conditions(numbers)
        index = torch.arange(len(z))
        for group in _groups(labels, len(z)):
            block = cost[group][:, group]
            if apart is not None:
                block = self._with_conditions(block, apart[group][:, group])
            index[group] = group[assign(block)]
        return index.to(z.device), torch.arange(len(z), device=z.device)

    def _with_conditions(self, cost: Tensor, apart: Tensor) -> Tensor:
        """The cost with w times the squared distance of the conditions, both of shape (n, n)."""
        unlike = apart > 0
        gain = cost.diagonal()[:, None] - cost
        limits = (gain[unlike] / apart[unlike]).sort(descending=True).values  # up to this w an exchange is worth it
        if not len(limits):
            return cost
        w = limits[int(self.candidates * len(limits))].clamp(min=0)
        return cost + w * apart


def _labels_and_numbers(y: Condition, z: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The whole numbers of the conditions, shape (batch, a), and the real ones, shape (batch, b). What has no
    condition becomes a label of its own.
    """
    values = y.values() if isinstance(y, Mapping) else [] if y is None else [y]
    entries = [value.reshape(len(z), -1) for value in values]
    numbers = [value for value in entries if value.is_floating_point()]
    labels = [value.long() for value in entries if not value.is_floating_point()]
    labels += [value.isnan().long() for value in numbers]
    numbers = [value.nan_to_num(nan=0.0) for value in numbers]
    return torch.cat(labels, dim=1) if labels else None, torch.cat(numbers, dim=1) if numbers else None


def _squared_distances_of_conditions(numbers: Tensor) -> Tensor:
    """Shape (batch, batch), exactly 0 for equal conditions."""
    numbers = numbers.cpu().double()
    return torch.cdist(numbers, numbers, compute_mode="donot_use_mm_for_euclid_dist").square()


def _groups(labels: Tensor | None, n: int) -> list[Tensor]:
    """The places in the batch that share their labels."""
    if labels is None:
        return [torch.arange(n)]
    _, which, counts = torch.unique(labels.cpu(), dim=0, return_inverse=True, return_counts=True)
    return list(which.argsort(stable=True).split(counts.tolist()))
