"""Weights of a loss on the score of a two-sided path."""

from torch import Tensor

from flowkit import Path, Weighting

from .interpolant import Interpolant

__all__ = ["GammaSquaredWeighting"]


class GammaSquaredWeighting(Weighting):
    r"""$\lambda(t) = \gamma_t^2$, under which score matching predicts the noise of the path, at one scale at all times.

    References:
        Tong et al. 2024, Simulation-Free Schrodinger Bridges via Score and Flow Matching, equation 17.
        https://arxiv.org/abs/2307.03672
    """

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """gamma_t squared, shape (batch,)."""
        assert isinstance(path, Interpolant)  # see `problems`
        return path.noise.gamma(t).square()

    def problems(self, path: Path) -> list[str]:
        """The path must have noise of its own."""
        if isinstance(path, Interpolant):
            return []
        return [
            f"weighting 'gamma_squared' needs a two-sided path, such as 'linear'; {type(path).__name__} has no gamma"
        ]
