"""UniPC."""

from typing import Literal

from .multistep import Multistep
from .weights import interpolation, midpoint, trapezoid

__all__ = ["UniPC"]


class UniPC(Multistep):
    r"""A predictor of order p, and a corrector of order p + 1 that needs no evaluation of its own.

    Both solve, for $B(h) = 1 - e^{-h}$ (their B2) and points $\tau_j = r_j h$ beside 0,

    $$x_s = \frac{\beta_s}{\beta_t} x_t + \alpha_s B(h) \left[D_0 + \sum_j \frac{a_j}{r_j} (D_j - D_0)\right], \qquad
      B(h) \sum_j a_j r_j^{k-1} = k!\, h\, \varphi_{k+1}(-h) \quad \text{for } k = 1, 2, \dots$$

    for UniP over the p - 1 earlier points, for UniC over these and the end of the step, h. The equations say that
    polynomials are integrated exactly, so B(h) drops out, except where UniPC sets the one unknown a_1 to 1/2: in
    UniP-2, which is the step of DPM-Solver++(2M), and in UniC-1, which corrects the first step.

    Arguments:
        predictor_order: p. With 3 the corrector would have order 4, but the first step leaves 3 to the whole.

    References:
        Zhao et al. 2023, UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models.
        https://arxiv.org/abs/2302.04867
    """

    order = 3

    def __init__(self, predictor_order: Literal[2, 3] = 2) -> None:
        self.predictor_order = self.memory = predictor_order

    def predictor(self, points: list[float], h: float) -> list[float]:
        """UniP."""
        return midpoint(points, h) if len(points) < 3 else interpolation(points, h)

    def corrector(self, points: list[float], h: float) -> list[float]:
        """UniC."""
        return trapezoid(h) if len(points) == 1 else interpolation([h, *points], h)
