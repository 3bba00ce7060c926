"""Diffusion coefficients sigma_t."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field

from flowkit import DiffusionCoefficient, Path, UnsupportedError

from .schedule import is_gaussian, schedule_of

__all__ = [
    "BetaDiffusion",
    "CallableDiffusion",
    "ConstantDiffusion",
    "DecreasingDiffusion",
    "IncreasingDecreasingDiffusion",
    "LinearDiffusion",
    "SBDMDiffusion",
]


class ConstantDiffusion(DiffusionCoefficient):
    """sigma_t = value.

    Towards t = 1 the score grows like 1/beta_t^2, so a constant coefficient needs steps that are short
    against beta_t^2 / sigma^2 there; `beta` does not.

    Arguments:
        value: sigma; 0 gives the ODE.
    """

    def __init__(self, value: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.value = value

    def sigma(self, t: float, path: Path) -> float:
        """The value, at every time."""
        return self.value


class BetaDiffusion(DiffusionCoefficient):
    """sigma_t = scale beta_t: the pull of the score then has the same rate, scale^2 / 2, at every time.

    Arguments:
        scale: How much noise; 0 gives the ODE.

    References:
        Ma et al. 2024, SiT, section 2.4: near to the w_t = beta_t there, but w_t is sigma_t^2.
        https://arxiv.org/abs/2401.08740
    """

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.scale = scale

    def sigma(self, t: float, path: Path) -> float:
        """Scale times beta_t."""
        return self.scale * float(schedule_of(path).beta(torch.tensor(t, dtype=torch.float64)))

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        if path.schedule is not None:
            return []
        return [f"diffusion 'beta' needs a path with a schedule; {type(path).__name__} has none: use 'constant'"]


class SBDMDiffusion(DiffusionCoefficient):
    r"""The coefficient of score-based diffusion models: the SDE is the noising of data run backwards.

    $$\sigma_t^2 = \mathrm{scale}^2 \cdot 2 \left(\beta_t^2\, \frac{\dot\alpha_t}{\alpha_t} - \beta_t \dot\beta_t\right)
        = \mathrm{scale}^2\, \beta_t^2\, \frac{d}{dt} \log \frac{\alpha_t^2}{\beta_t^2}$$

    With scale = 1 the joint law of x_t and x_s is that of the forward process. Where alpha = 0, at t = 0 of most
    schedules, the formula is infinite. No number of steps follows that, and none has to: every coefficient keeps
    the marginals, so sigma_t stops at `maximum`.

    Arguments:
        scale: How much noise; 0 gives the ODE.
        maximum: The largest sigma_t. A step h of Euler-Maruyama near t = 0 needs h sigma_t^2 < 2.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 6. https://arxiv.org/abs/2011.13456
        Ma et al. 2024, SiT, equation 13 (w_t = sigma_t^2, times reversed). https://arxiv.org/abs/2401.08740
    """

    def __init__(
        self, scale: Annotated[float, Field(ge=0)] = 1.0, maximum: Annotated[float, Field(gt=0)] = 5.0
    ) -> None:
        self.scale, self.maximum = scale, maximum

    def sigma(self, t: float, path: Path) -> float:
        """At most `maximum`.

        Raises:
            UnsupportedError: At t = 1, of a schedule that ends with an infinite slope.
        """
        schedule, time = schedule_of(path), torch.tensor(t, dtype=torch.float64)
        alpha, beta = float(schedule.alpha(time)), float(schedule.beta(time))
        if alpha == 0:
            return self.maximum if self.scale else 0.0
        alpha_dot, beta_dot = float(schedule.alpha_dot(time)), float(schedule.beta_dot(time))
        if math.isinf(beta_dot):
            raise UnsupportedError(
                f"diffusion 'sbdm' is not determined at t = {t:g}, where the slope of beta is infinite"
            )
        square = 2 * beta * (beta * alpha_dot / alpha - beta_dot)
        return min(self.scale * math.sqrt(max(square, 0.0)), self.maximum)

    def problems(self, path: Path) -> list[str]:
        """The path must be Gaussian."""
        if is_gaussian(path):
            return []
        return [f"diffusion 'sbdm' needs a Gaussian path; {type(path).__name__} is none: use 'constant'"]


class LinearDiffusion(DiffusionCoefficient):
    """sigma_t^2 = scale^2 (1 - t).

    Arguments:
        scale: How much noise; 0 gives the ODE.

    References:
        Ma et al. 2024, SiT, the form `linear` of `compute_diffusion` in its code, which gives half of sigma_t^2.
        https://arxiv.org/abs/2401.08740
    """

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.scale = scale

    def sigma(self, t: float, path: Path) -> float:
        """Falls to 0 as a square root."""
        return self.scale * math.sqrt(1 - t)


class DecreasingDiffusion(DiffusionCoefficient):
    r"""$\sigma_t = \mathrm{scale}\, (1 + \cos \pi t)/2 = \mathrm{scale}\, \cos^2(\pi t/2)$: noise early.

    Arguments:
        scale: How much noise; 0 gives the ODE.

    References:
        Ma et al. 2024, SiT, the form `decreasing` of `compute_diffusion` in its code, which gives half of sigma_t^2.
        https://arxiv.org/abs/2401.08740
    """

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.scale = scale

    def sigma(self, t: float, path: Path) -> float:
        """Falls to 0 like (1 - t)^2."""
        return self.scale * math.cos(math.pi * t / 2) ** 2


class IncreasingDecreasingDiffusion(DiffusionCoefficient):
    r"""$\sigma_t = \mathrm{scale}\, \sin \pi t$: noise in the middle, none at either end.

    Arguments:
        scale: How much noise; 0 gives the ODE.

    References:
        Ma et al. 2024, SiT, section 2.4 (w_t = sin^2(pi t) is sigma_t^2). https://arxiv.org/abs/2401.08740
    """

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.scale = scale

    def sigma(self, t: float, path: Path) -> float:
        """0 at both ends."""
        return self.scale * math.sin(math.pi * min(t, 1 - t))


class CallableDiffusion(DiffusionCoefficient):
    """sigma_t = function(t), for Python; a file holds no functions.

    Arguments:
        function: Takes the time and returns sigma_t >= 0.

    Examples:
        >>> diffusion = CallableDiffusion(lambda t: 2 * (1 - t) ** 2)
    """

    def __init__(self, function: Callable[[float], float]) -> None:
        self.function = function

    def sigma(self, t: float, path: Path) -> float:
        """What the function says.

        Raises:
            ValueError: It is no coefficient at this time.
        """
        sigma = float(self.function(t))
        if not 0 <= sigma < math.inf:
            raise ValueError(
                f"a diffusion coefficient is at least 0 and finite; the function gives {sigma} at t = {t:g}"
            )
        return sigma
