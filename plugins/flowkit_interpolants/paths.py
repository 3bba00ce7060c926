"""Two-sided paths between any two distributions."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from .gamma import GammaName
from .interpolant import Interpolant

__all__ = ["BrownianBridge", "EncodingDecoding", "Linear", "Trigonometric"]

Scale = Annotated[float, Field(gt=0)]


class Linear(Interpolant):
    r"""Straight lines, $m_t = t z + (1 - t) x_0$: rectified flow between any two distributions.

    Arguments:
        gamma: The shape of the noise: none, constant, brownian, quadratic or sine_squared.
        scale: Its size.

    References:
        Liu et al. 2023, Flow Straight and Fast, equation 1. https://arxiv.org/abs/2209.03003
        Tong et al. 2024, Improving and generalizing flow-based generative models, equations 14 and 15 (gamma
        constant). https://arxiv.org/abs/2302.00482
    """

    def __init__(self, gamma: GammaName = "none", scale: Scale = 1.0) -> None:
        super().__init__(gamma, scale)

    def alpha(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def beta(self, t: Tensor) -> Tensor:
        """What is left of it."""
        return 1 - t

    def alpha_dot(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Minus one."""
        return -torch.ones_like(t)


class BrownianBridge(Linear):
    r"""Brownian motion of deviation sigma, pinned at both ends.

    $p_t(x|x_0, z) = N(t z + (1-t) x_0, \sigma^2 t(1-t) I)$ is the linear path with $\gamma_t = \sigma\sqrt{t(1-t)}$:

    $$u_t = \frac{1 - 2t}{2t(1-t)}(x - m_t) + z - x_0, \qquad \nabla\log p_t = \frac{m_t - x}{\sigma^2 t(1-t)}.$$

    If the ends are paired by entropic optimal transport of regularization 2 sigma^2, the SDE with the diffusion
    coefficient sigma is the Schrodinger bridge between the two distributions.

    Arguments:
        sigma: The deviation of the Brownian motion after unit time.

    References:
        Tong et al. 2024, Simulation-Free Schrodinger Bridges via Score and Flow Matching, equation 8 and proposition
        3.4. https://arxiv.org/abs/2307.03672
    """

    def __init__(self, sigma: Scale = 1.0) -> None:
        super().__init__("brownian", sigma)
        self.sigma = sigma


class Trigonometric(Interpolant):
    r"""A quarter turn, $m_t = \sin(\pi t/2)\,z + \cos(\pi t/2)\,x_0$.

    It keeps the variance of two independent ends of equal variance.

    Arguments:
        gamma: The shape of the noise: none, constant, brownian, quadratic or sine_squared.
        scale: Its size.

    References:
        Albergo and Vanden-Eijnden 2023, Building Normalizing Flows with Stochastic Interpolants, equation 5.
        https://arxiv.org/abs/2209.15571
    """

    def __init__(self, gamma: GammaName = "none", scale: Scale = 1.0) -> None:
        super().__init__(gamma, scale)

    def alpha(self, t: Tensor) -> Tensor:
        """Sine of the angle."""
        return torch.sin(t * (math.pi / 2))

    def beta(self, t: Tensor) -> Tensor:
        """Cosine of the angle, 0 at t = 1 exactly."""
        return torch.sin((1 - t) * (math.pi / 2))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.beta(t) * (math.pi / 2)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.alpha(t) * (-math.pi / 2)


class EncodingDecoding(Interpolant):
    r"""First x0 turns into noise, then noise into z.

    $m_t = \cos^2(\pi t)\,x_0$ before t = 1/2, and $m_t = \cos^2(\pi t)\,z$ after. In
    the middle nothing but noise is left, so gamma must not be 0 there.

    Arguments:
        gamma: The shape of the noise: constant, brownian, quadratic or sine_squared.
        scale: Its size.

    References:
        Albergo et al. 2023, Stochastic Interpolants, equation 4.11. https://arxiv.org/abs/2303.08797
    """

    def __init__(self, gamma: GammaName = "sine_squared", scale: Scale = 1.0) -> None:
        if gamma == "none":
            raise ValueError("gamma must not be 'none': at t = 1/2 neither end is left, and all paths would meet in 0")
        super().__init__(gamma, scale)

    def alpha(self, t: Tensor) -> Tensor:
        """cos^2(pi t) in the second half."""
        return torch.where(t > 0.5, torch.cos(math.pi * t) ** 2, 0)

    def beta(self, t: Tensor) -> Tensor:
        """cos^2(pi t) in the first half."""
        return torch.where(t < 0.5, torch.cos(math.pi * t) ** 2, 0)

    def alpha_dot(self, t: Tensor) -> Tensor:
        """-pi sin(2 pi t) in the second half."""
        return torch.where(t > 0.5, -math.pi * torch.sin(2 * math.pi * t), 0)

    def beta_dot(self, t: Tensor) -> Tensor:
        """-pi sin(2 pi t) in the first half."""
        return torch.where(t < 0.5, -math.pi * torch.sin(2 * math.pi * t), 0)
