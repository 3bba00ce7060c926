"""The exponential Adams-Bashforth method."""

from typing import Literal

from .multistep import Multistep
from .weights import interpolation, trapezoid

__all__ = ["ExponentialAdamsBashforth"]


class ExponentialAdamsBashforth(Multistep):
    r"""The polynomial in lambda through the last `order` values of D, integrated exactly.

    $$x_s = \frac{\beta_s}{\beta_t} x_t + \alpha_s \sum_{j=1}^{order} D_j
      \int_0^h e^{\tau - h} \ell_j(\tau)\,d\tau$$

    with the Lagrange polynomials of the lambdas at which the D_j were evaluated. With fewer values at the beginning the
    polynomial has a lower degree. A first step with a constant D would cost order 3 its order, so there this step is
    corrected by the mean of D at both of its ends.

    Arguments:
        order: How many values.

    References:
        Zhang and Chen 2023, Fast Sampling of Diffusion Models with Exponential Integrator, tAB-DEIS, for the noise in
        place of the data. https://arxiv.org/abs/2204.13902
        Lu et al. 2022, DPM-Solver++, proposition 4.1 for the integral. https://arxiv.org/abs/2211.01095
    """

    def __init__(self, order: Literal[2, 3] = 2) -> None:
        self.order = self.memory = order

    def predictor(self, points: list[float], h: float) -> list[float]:
        """The weights of the latest D."""
        return interpolation(points, h)

    def corrector(self, points: list[float], h: float) -> list[float]:
        """For order 3, the first step again with the mean of D at its ends."""
        return trapezoid(h) if self.order == 3 and len(points) == 1 else []
