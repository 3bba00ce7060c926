r"""How much noise of its own a two-sided path has at each time: $\gamma_t \ge 0$.

A gamma gives its value and its logarithmic derivative $\dot\gamma_t/\gamma_t$, which multiplies what of the state is
noise, $\gamma_t\,\epsilon$, into its share of the velocity, $\dot\gamma_t\,\epsilon$. It is infinite where gamma is 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

__all__ = ["GAMMAS", "Brownian", "Constant", "Gamma", "GammaName", "NoGamma", "Quadratic", "SineSquared"]


class Gamma(ABC):
    """Gamma_t = scale times a fixed shape.

    Arguments:
        scale: The factor.
    """

    settles: ClassVar[bool] = True
    """Whether gamma_dot is 0 wherever gamma is, so that the velocity is determined there."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @abstractmethod
    def gamma(self, t: Tensor) -> Tensor:
        """Its value, shape of t."""

    @abstractmethod
    def log_slope(self, t: Tensor) -> Tensor:
        """Gamma_dot / gamma, shape of t."""


class NoGamma(Gamma):
    """No noise: every path is a curve."""

    def gamma(self, t: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(t)

    def log_slope(self, t: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(t)


class Constant(Gamma):
    """Scale at every time, both ends included, which are then blurred.

    References:
        Tong et al. 2024, Improving and generalizing flow-based generative models, equation 14.
        https://arxiv.org/abs/2302.00482
    """

    def gamma(self, t: Tensor) -> Tensor:
        """The scale."""
        return torch.full_like(t, self.scale)

    def log_slope(self, t: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(t)


class Brownian(Gamma):
    r"""Scale $\sqrt{t(1-t)}$, the deviation of a Brownian bridge; $\dot\gamma$ is infinite at both ends.

    References:
        Albergo et al. 2023, Stochastic Interpolants, table 8 (a = scale^2). https://arxiv.org/abs/2303.08797
    """

    settles = False

    def gamma(self, t: Tensor) -> Tensor:
        """Scale sqrt(t (1 - t))."""
        return self.scale * torch.sqrt(t * (1 - t))

    def log_slope(self, t: Tensor) -> Tensor:
        """(1 - 2 t) / (2 t (1 - t))."""
        return (1 - 2 * t) / (2 * t * (1 - t))


class Quadratic(Gamma):
    """Scale t (1 - t).

    References:
        Albergo et al. 2023, Stochastic Interpolants, table 8. https://arxiv.org/abs/2303.08797
    """

    settles = False

    def gamma(self, t: Tensor) -> Tensor:
        """Scale t (1 - t)."""
        return self.scale * t * (1 - t)

    def log_slope(self, t: Tensor) -> Tensor:
        """(1 - 2 t) / (t (1 - t))."""
        return (1 - 2 * t) / (t * (1 - t))


class SineSquared(Gamma):
    r"""Scale $\sin^2 \pi t$, which leaves and reaches the ends at rest.

    References:
        Albergo et al. 2023, Stochastic Interpolants, table 8. https://arxiv.org/abs/2303.08797
    """

    def gamma(self, t: Tensor) -> Tensor:
        """Scale sin^2(pi t), 0 at both ends exactly."""
        return self.scale * torch.sin(math.pi * torch.minimum(t, 1 - t)) ** 2

    def log_slope(self, t: Tensor) -> Tensor:
        """2 pi cot(pi t)."""
        return 2 * math.pi * torch.cos(math.pi * t) / torch.sin(math.pi * torch.minimum(t, 1 - t))


GammaName = Literal["none", "constant", "brownian", "quadratic", "sine_squared"]

GAMMAS: dict[GammaName, Callable[[float], Gamma]] = {
    "none": NoGamma,
    "constant": Constant,
    "brownian": Brownian,
    "quadratic": Quadratic,
    "sine_squared": SineSquared,
}
