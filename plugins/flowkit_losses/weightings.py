"""Weights of a loss over time."""

import torch
from torch import Tensor

from flowkit import Path, Weighting

__all__ = ["BetaSquaredWeighting", "UnitWeighting"]


class UnitWeighting(Weighting):
    """lambda(t) = 1."""

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """Ones, shape (batch,)."""
        return torch.ones_like(t)


class BetaSquaredWeighting(Weighting):
    r"""$\lambda(t) = \beta_t^2$, under which score matching is noise prediction.

    References:
        Song and Ermon 2019, Generative Modeling by Estimating Gradients, equation 6.
        https://arxiv.org/abs/1907.05600
    """

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """beta_t squared, shape (batch,)."""
        return path.schedule.beta(t).square()  # type: ignore[attr-defined]  # see `problems`

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        if hasattr(path, "schedule"):
            return []
        return [f"weighting 'beta_squared' needs a path with a schedule; {type(path).__name__} has none"]
