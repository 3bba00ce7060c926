"""Diffusion coefficients sigma_t."""

from typing import Annotated

import torch
from pydantic import Field

from flowkit import DiffusionCoefficient, Path

__all__ = ["BetaDiffusion", "ConstantDiffusion"]


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
        Ma et al. 2024, SiT, table 2 (w_t = sigma_t and its kin). https://arxiv.org/abs/2401.08740
    """

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.scale = scale

    def sigma(self, t: float, path: Path) -> float:
        """Scale times beta_t."""
        beta = path.schedule.beta(torch.tensor(t, dtype=torch.float64))  # type: ignore[attr-defined]
        return self.scale * float(beta)

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        if hasattr(path, "schedule"):
            return []
        return [f"diffusion 'beta' needs a path with a schedule; {type(path).__name__} has none: use 'constant'"]
