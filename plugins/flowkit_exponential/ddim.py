"""DDIM."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, Quantity

from .exponential import ExponentialIntegrator, Grid

__all__ = ["DDIM"]


class DDIM(ExponentialIntegrator):
    r"""$x_s = \alpha_s D + \beta_s N$ with D = E[z|x_t] and N = E[x_0|x_t]: where the line through both would be at s.

    It is the exponential integrator of order 1, for $x_t = \alpha_t D + \beta_t N$ turns it into
    $(\beta_s/\beta_t) x_t + \alpha_s (1 - e^{-h}) D$. On the straight path it is Euler's method. It divides by
    neither alpha nor beta, so its steps at the ends are like the others.

    References:
        Song et al. 2021, Denoising Diffusion Implicit Models, equation 12 with sigma = 0.
        https://arxiv.org/abs/2010.02502
    """

    order = 1
    needs = (Quantity.DATA, Quantity.NOISE)

    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`, in either direction; one evaluation a step."""
        grid = Grid.of(self.schedule(dynamics), torch.as_tensor(times, dtype=torch.float64, device="cpu"))
        yield x
        for t, alpha, beta in zip(grid.times[:-1], grid.alpha[1:], grid.beta[1:], strict=True):
            data, noise = dynamics.predict(x, t, self.needs)
            x = alpha * data + beta * noise
            yield x
