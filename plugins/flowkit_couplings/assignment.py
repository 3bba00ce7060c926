"""The assignment problem: the cheapest permutation, exactly."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["assign"]

_STAGES = ((0.04, 6), (0.01, 8))
"""Entropic problems one after the other: epsilon in units of the mean cost, and iterations. With these, the start takes
about as long as what it leaves to the solver."""
_OVERRELAXATION = 1.75
_LEAST_LOG = -40.0
"""Of an entry of a kernel: smaller ones would be denormal numbers, which are slow, or 0, which has no dual."""
_WORTH_A_START = 64
"""Smaller problems are solved before a start is found."""


def assign(cost: Tensor) -> Tensor:
    r"""The permutation $\pi$ that minimises $\sum_i C_{i\pi(i)}$.

    The solver builds shortest augmenting paths, which are the shorter the nearer the costs are to $C_{ij} - f_i - g_j$
    with the dual solution f, g. Numbers taken from all costs of a row or of a column change no optimum; so the duals of
    an entropic problem are taken off first. The result is as exact as without, in a third to a fifth of the time.
    Nothing is kept from call to call: where several permutations are optimal, the costs alone decide which is found, so
    that runs can be repeated and resumed to the bit.

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
        reduced -= _duals_of_columns(reduced.float())
        reduced -= reduced.amin(1, keepdim=True)
        reduced -= reduced.amin(0)
    return torch.from_numpy(linear_sum_assignment(reduced.numpy())[1]).to(cost.device)


@np.errstate(all="ignore")
def _duals_of_columns(cost: Tensor) -> Tensor:
    r"""Roughly the optimal g: some overrelaxed iterations of Sinkhorn's algorithm. Any finite g would be right.

    With $K = e^{-C/\epsilon}$ they are $u \leftarrow u^{1-\omega} (Kv)^{-\omega}$ and
    $v \leftarrow v^{1-\omega} (K^T u)^{-\omega}$. Then $g = \epsilon \log v$ is taken off for the next epsilon.

    Arguments:
        cost: C, which is overwritten.

    References:
        Thibault et al. 2021, Overrelaxed Sinkhorn-Knopp Algorithm for Regularized Optimal Transport.
        https://arxiv.org/abs/1711.01851
    """
    mean = cost.mean()
    duals, kernel = np.zeros(len(cost), dtype=np.float32), torch.empty_like(cost)
    k = kernel.numpy()  # on so few numbers NumPy's operations take half the time of torch's
    for share, iterations in _STAGES:
        epsilon = share * mean
        torch.div(cost, -epsilon, out=kernel).clamp_(min=_LEAST_LOG).exp_()
        u = 1 / k.sum(1)
        v = 1 / (u @ k)
        for _ in range(iterations):
            u *= (k @ v * u) ** -_OVERRELAXATION
            v *= (u @ k * v) ** -_OVERRELAXATION
        g = epsilon.numpy() * np.log(v)
        duals += g
        cost -= torch.from_numpy(g)
        cost -= cost.amin(1, keepdim=True)
    return torch.from_numpy(duals if np.isfinite(duals).all() else np.zeros_like(duals))
