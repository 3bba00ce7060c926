"""DPM-Solver++(3M)."""

from .multistep import Multistep
from .weights import divided_difference, interpolation, midpoint, phi

__all__ = ["DPMpp3M"]


class DPMpp3M(Multistep):
    r"""The parabola through the last three D with half of its curvature, as the authors' code and all after it have it.

    $$x_s = \frac{\beta_s}{\beta_t} x_t + \alpha_s h \left[\varphi_1(-h) D_0 + \varphi_2(-h)\, h D'
      + \varphi_3(-h)\, h^2 \frac{D''}{2}\right]$$

    with D' and D'' of the parabola at lambda_t. The integral of the parabola itself would have $h^2 D''$ in the last
    term. What is missing is of the third order in h, so the method converges with order 2; its error is smaller than
    that of 2M. `exponential_ab` with `order=3` integrates the whole parabola. The first two steps are those of 2M.

    References:
        Lu et al., https://github.com/LuChengTHU/dpm-solver, multistep_dpm_solver_third_update.
        Crowson, https://github.com/crowsonkb/k-diffusion, sample_dpmpp_3m_sde with eta = 0.
    """

    order = 2
    memory = 3

    def predictor(self, points: list[float], h: float) -> list[float]:
        """The weights of the three latest D."""
        if len(points) < 3:
            return midpoint(points, h)
        excess = h**3 * phi(3, -h)
        curvature = divided_difference(points)
        return [weight - excess * c for weight, c in zip(interpolation(points, h), curvature, strict=True)]
