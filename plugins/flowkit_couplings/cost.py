"""What it costs to carry one point to another."""

import torch
from torch import Tensor

__all__ = ["squared_distances"]


def squared_distances(x: Tensor, other: Tensor) -> Tensor:
    r"""$|x_i - x'_j|^2$ of flattened events, in float64 where the device has it.

    The points are shifted to the mean of x first, so that $|x|^2 + |x'|^2 - 2 x \cdot x'$ cancels no digits of data
    that are far from 0.

    Arguments:
        x: Shape (n, *event).
        other: Shape (m, *event).

    Returns:
        Shape (n, m), nowhere negative.
    """
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    x, other = x.detach().flatten(1).to(dtype), other.detach().flatten(1).to(dtype)
    centre = x.mean(0)
    x, other = x - centre, other - centre
    cost = torch.mm(x, other.T).mul_(-2)
    cost += x.square().sum(1, keepdim=True)
    cost += other.square().sum(1)
    return cost.clamp_(min=0)
