"""DPM-Solver++(2M)."""

from .multistep import Multistep
from .weights import midpoint

__all__ = ["DPMpp2M"]


class DPMpp2M(Multistep):
    r"""The data D is held at what the line through its last two values gives for the middle of the step.

    $$x_s = \frac{\beta_s}{\beta_t} x_t + \alpha_s (1 - e^{-h}) \left[\left(1 + \frac{1}{2r}\right) D_0
      - \frac{1}{2r} D_{-1}\right], \qquad r = \frac{\lambda_t - \lambda_{-1}}{h}.$$

    The first step is one of DDIM, and so is the last where it ends at beta = 0.

    References:
        Lu et al. 2022, DPM-Solver++, algorithm 2. https://arxiv.org/abs/2211.01095
    """

    order = 2
    memory = 2

    def predictor(self, points: list[float], h: float) -> list[float]:
        """The weights of the two latest D."""
        return midpoint(points, h)
