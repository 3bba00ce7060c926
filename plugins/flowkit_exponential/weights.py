r"""The weights of polynomials under an exponential: $\int_0^h e^{\tau - h} p(\tau)\,d\tau$."""

import math
from collections.abc import Sequence

import torch

__all__ = ["divided_difference", "interpolation", "midpoint", "phi", "trapezoid"]


def phi(k: int, z: float) -> float:
    r"""$\varphi_k(z) = \int_0^1 e^{(1 - \theta) z}\, \theta^{k-1} / (k-1)!\, d\theta$, and $\varphi_0(z) = e^z$.

    By $\varphi_{k+1}(z) = (\varphi_k(z) - 1/k!)/z$, and near 0, where that cancels, by
    $\varphi_k(z) = \sum_j z^j / (j + k)!$, which after 20 terms is exact to rounding for |z| < 1.

    References:
        Hochbruck and Ostermann 2010, Exponential integrators, section 2.1.
        https://doi.org/10.1017/S0962492910000048
    """
    if abs(z) < 1:
        return sum(z**j / math.factorial(j + k) for j in range(20))
    value = math.exp(z)
    for j in range(k):
        value = (value - 1 / math.factorial(j)) / z
    return value


def interpolation(points: Sequence[float], h: float) -> list[float]:
    r"""$w_j = \int_0^h e^{\tau - h} \ell_j(\tau)\,d\tau$ with the Lagrange polynomials $\ell_j$ of `points`.

    They integrate polynomials of a degree below the number of points exactly: with $\theta = \tau/h$ they solve
    $\sum_j w_j \theta_j^k = h\, k!\, \varphi_{k+1}(-h)$. For one point this is $1 - e^{-h}$, also for h = inf.

    Arguments:
        points: One to four different values of tau.
        h: The length of the step; infinite for one point only.
    """
    if len(points) == 1:
        return [-math.expm1(-h)]
    moments = [h * math.factorial(k) * phi(k + 1, -h) for k in range(len(points))]
    powers = [[(point / h) ** k for point in points] for k in range(len(points))]
    return torch.linalg.solve(*(torch.tensor(side, dtype=torch.float64) for side in (powers, moments))).tolist()


def midpoint(points: Sequence[float], h: float) -> list[float]:
    r"""The weights $(1 - e^{-h}) (1 + 1/2r,\ -1/2r)$ of points 0 and -r h: their line, in the middle of the step.

    With one point, the weight of a constant.
    """
    constant = -math.expm1(-h)
    if len(points) == 1:
        return [constant]
    slope = -constant * h / (2 * points[1])
    return [constant + slope, -slope]


def trapezoid(h: float) -> list[float]:
    r"""The weights $(1 - e^{-h}) (1/2, 1/2)$ of the ends of the step.

    From h = inf, where alpha = 0, it is the trapezoid rule in alpha/beta.
    """
    return [-math.expm1(-h) / 2] * 2


def divided_difference(points: Sequence[float]) -> list[float]:
    r"""$c_j = 1 / \prod_{m \ne j} (\tau_j - \tau_m)$; on a parabola p through three, $\sum_j c_j p(\tau_j) = p''/2$."""
    return [1 / math.prod(point - other for other in points if other != point) for point in points]
