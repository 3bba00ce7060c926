r"""The assignment problem by shortest augmenting paths, compiled by numba, outside the interpreter's lock.

A permutation is optimal if some f and g leave $C_{ij} - f_i - g_j \ge 0$ everywhere and $= 0$ on its pairs. Good f come
from an entropic problem, with each the best $g_j = \min_i C_{ij} - f_i$; most rows then have a column of their own that
is tight. Each of the others is given one along the shortest path of changes, with costs $C_{ij} - f_i - g_j$, after
which new f and g prove the larger permutation optimal. The entropic start is rough and changes no optimum: it works in
float32, its exponential is right to 3 percent, and what it finds is dropped where it is not finite.

Loops go along rows and keep to what a compiler makes vector instructions of; a minimum over a row is not, minima of
columns are.

References:
    Jonker and Volgenant 1987, A shortest augmenting path algorithm for dense and sparse linear assignment problems.
    https://doi.org/10.1007/BF02278710
    Thibault et al. 2021, Overrelaxed Sinkhorn-Knopp Algorithm for Regularized Optimal Transport.
    https://arxiv.org/abs/1711.01851
    Schraudolph 1999, A Fast, Compact Approximation of the Exponential Function.
    https://doi.org/10.1162/089976699300016467
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["permutation", "permutations_of_points"]

_EPSILONS, _ITERATIONS = (0.05, 0.012, 0.003), (5, 6, 8)
"""Of the entropic problems, one after the other; epsilon in units of the mean cost. With these, the start takes about
as long as what it leaves to the paths."""
_UNIT = 2.0**23 / np.log(2)
"""What 1 in the exponent is to the bits of a float32, read as an integer."""
_BITS_OF_ONE = np.int32(127 * 2**23 - 366_393)
"""Those of e^0 = 1, less what makes the exponential err by 3 percent up and down, not by 6 upwards."""
_LEAST_LOG = -40.0
"""Of an entry of a kernel, lest it be denormal, or 0."""

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
_f32, _infinity = np.float32, np.inf


_EXACT: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_inner = njit(forceinline=True, **_EXACT)
_inner_in_any_order = njit(forceinline=True, fastmath={"reassoc", "contract"}, **_EXACT)


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once, where there is a folder to keep it in. What it calls is part of it: a copy of its own might be
    compiled to sums in another order, and be another one the next time.
    """
    try:
        return njit(cache=True, **_EXACT)(function)
    except RuntimeError:  # no such folder beside this file nor in the user's home
        return njit(**_EXACT)(function)


@_inner
def _reduced(cost: Numbers) -> tuple[NDArray[np.float32], float]:
    """The costs above the least of their column in units of their mean, and that mean; it is 0 where all are equal."""
    n = len(cost)
    least = cost[0].copy()
    for i in range(n):
        for j in range(n):
            least[j] = cost[i, j] if cost[i, j] < least[j] else least[j]
    above = np.zeros(n)
    for i in range(n):
        for j in range(n):
            above[j] += cost[i, j] - least[j]
    mean, reduced = above.sum() / n**2, np.zeros((n, n), np.float32)
    scale = 1 / mean
    if np.isfinite(mean) and np.isfinite(scale):
        for i in range(n):
            for j in range(n):
                reduced[i, j] = (cost[i, j] - least[j]) * scale
    return reduced, mean


@_inner
def _exponentials(reduced: NDArray[np.float32], epsilon: float, kernel: NDArray[np.float32]) -> None:
    """About e^(-reduced / epsilon): the exponent is put where a float32 has its own."""
    bits, scale, floor = kernel.view(np.int32), _f32(-_UNIT / epsilon), _f32(_LEAST_LOG * _UNIT)
    for i in range(len(reduced)):
        for j in range(len(reduced)):
            bits[i, j] = np.int32(max(reduced[i, j] * scale, floor)) + _BITS_OF_ONE


@_inner
def _correction(marginal: float) -> float:
    """marginal^-1.75, by which a dual is multiplied: Sinkhorn's is marginal^-1, what is beyond is overrelaxation."""
    return np.sqrt(np.sqrt(marginal)) / (marginal * marginal)


@_inner_in_any_order
def _scale(kernel: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32], iterations: int) -> None:
    """The u and v with which rows and columns of u_i K_ij v_j sum to 1, roughly."""
    n = len(kernel)
    columns = np.zeros(n, np.float32)
    for i in range(n):
        row = _f32(0)
        for j in range(n):
            row += kernel[i, j]
        u[i] = 1 / row
        for j in range(n):
            columns[j] += u[i] * kernel[i, j]
    for j in range(n):
        v[j] = 1 / columns[j]
    in_fours = n - n % 4
    for _ in range(iterations):
        columns[:] = 0
        for i in range(0, in_fours, 4):  # four rows at a time, for the columns' sums to be fetched less often
            a, b, c, d = _f32(0), _f32(0), _f32(0), _f32(0)
            for j in range(n):
                a += kernel[i, j] * v[j]
                b += kernel[i + 1, j] * v[j]
                c += kernel[i + 2, j] * v[j]
                d += kernel[i + 3, j] * v[j]
            a = u[i] * _correction(u[i] * a)
            b = u[i + 1] * _correction(u[i + 1] * b)
            c = u[i + 2] * _correction(u[i + 2] * c)
            d = u[i + 3] * _correction(u[i + 3] * d)
            u[i], u[i + 1], u[i + 2], u[i + 3] = a, b, c, d
            for j in range(n):
                columns[j] += a * kernel[i, j] + b * kernel[i + 1, j] + c * kernel[i + 2, j] + d * kernel[i + 3, j]
        for i in range(in_fours, n):
            row = _f32(0)
            for j in range(n):
                row += kernel[i, j] * v[j]
            u[i] *= _correction(u[i] * row)
            for j in range(n):
                columns[j] += u[i] * kernel[i, j]
        for j in range(n):
            v[j] *= _correction(v[j] * columns[j])


@_inner
def _start(reduced: NDArray[np.float32]) -> Numbers:
    """Roughly the optimal f of these costs, which are overwritten."""
    n = len(reduced)
    duals, kernel = np.zeros(n), np.empty((n, n), np.float32)
    u, v = np.empty(n, np.float32), np.empty(n, np.float32)
    for stage in range(len(_EPSILONS)):
        epsilon = _f32(_EPSILONS[stage])
        _exponentials(reduced, epsilon, kernel)
        _scale(kernel, u, v, _ITERATIONS[stage])
        total = _f32(0)
        for i in range(n):
            u[i] = epsilon * np.log(u[i])
            total += u[i]
        if not np.isfinite(total):
            break
        for i in range(n):
            duals[i] += u[i]
        v[:] = _infinity
        for i in range(n):
            for j in range(n):
                reduced[i, j] -= u[i]
                v[j] = reduced[i, j] if reduced[i, j] < v[j] else v[j]
        for i in range(n):
            for j in range(n):
                reduced[i, j] -= v[j]
    return duals


@_inner
def _take_tight(cost: Numbers, f: Numbers, g: Numbers, column_of: Indices, row_of: Indices) -> None:
    """The best g to these f, and the pairs of rows with a column that is tight; -1 for what is left without."""
    n = len(cost)
    tight = np.zeros(n, np.int64)
    g[:] = _infinity
    for i in range(n):
        for j in range(n):
            left = cost[i, j] - f[i]
            better = left < g[j]
            g[j] = left if better else g[j]
            tight[j] = i if better else tight[j]
    column_of[:] = -1
    row_of[:] = -1
    for j in range(n):
        i = tight[j]
        if column_of[i] < 0:
            column_of[i], row_of[j] = j, i


@_inner
def _nearest(distance: Numbers) -> int:
    """Where the least distance is. Minima of four at a time take a third of the time of one after the other."""
    n = len(distance)
    a = b = c = d = distance[0]
    in_fours = n - n % 4
    for j in range(0, in_fours, 4):
        a, b = min(a, distance[j]), min(b, distance[j + 1])
        c, d = min(c, distance[j + 2]), min(d, distance[j + 3])
    for j in range(in_fours, n):
        a = min(a, distance[j])
    least = min(min(a, b), min(c, d))
    nearest = 0
    while distance[nearest] != least:
        nearest += 1
    return nearest


@_inner
def _augment(cost: Numbers, g: Numbers, column_of: Indices, row_of: Indices) -> bool:
    """Give every row a column, and g what proves it optimal; False if a distance is infinite."""
    n = len(cost)
    distance, open_g = np.empty(n), np.empty(n)
    before, closed, length = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    for start in range(n):
        if column_of[start] >= 0:
            continue
        for j in range(n):
            open_g[j] = g[j]
            distance[j] = cost[start, j] - g[j]
            before[j] = start
        end, count = _nearest(distance), 0
        while row_of[end] >= 0:
            row, least = row_of[end], distance[end]
            if not np.isfinite(least):
                return False
            closed[count], length[count] = end, least
            count += 1
            beyond = cost[row, end] - g[end] - least
            distance[end], open_g[end] = _infinity, -_infinity  # never the nearest again, and never nearer
            for j in range(n):
                through = cost[row, j] - open_g[j] - beyond
                nearer = through < distance[j]
                distance[j] = through if nearer else distance[j]
                before[j] = row if nearer else before[j]
            end = _nearest(distance)
        for k in range(count):
            g[closed[k]] += length[k] - distance[end]
        row = -1
        while row != start:
            row = before[end]
            row_of[end], column_of[row], end = row, end, column_of[row]
    return True


@_inner
def _solve(cost: Numbers) -> Indices:
    n = len(cost)
    column_of, row_of, g = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    reduced, mean = _reduced(cost)
    f = _start(reduced) * mean
    _take_tight(cost, f, g, column_of, row_of)
    if not np.isfinite(mean) or not _augment(cost, g, column_of, row_of):
        column_of[:] = -1
    return column_of


@_entry
def permutation(cost: Numbers) -> Indices:
    r"""The permutation $\pi$ that minimises $\sum_i C_{i\pi(i)}$; -1 everywhere if costs are not finite.

    Arguments:
        cost: C, float64 of shape (n, n).

    Returns:
        pi(0), ..., pi(n - 1), int64 of shape (n,).
    """
    return _solve(cost)


@_entry
def permutations_of_points(x0: Numbers, z: Numbers) -> Indices:
    r"""For each of several batches, the permutation that minimises $\sum_i |x_{0,\pi(i)} - z_i|^2$.

    Arguments:
        x0: float64 of shape (batches, n, d).
        z: float64 of shape (batches, n, d).

    Returns:
        pi(0), ..., pi(n - 1) of each, int64 of shape (batches, n); -1 for batches with distances that are not finite.
    """
    batches, n, d = x0.shape
    permutations, cost = np.empty((batches, n), np.int64), np.empty((n, n))
    for batch in range(batches):
        cost[:] = 0
        across = x0[batch].T.copy()
        for i in range(n):
            for k in range(d):
                for j in range(n):
                    cost[i, j] += (across[k, j] - z[batch, i, k]) ** 2
        permutations[batch] = _solve(cost)
    return permutations
