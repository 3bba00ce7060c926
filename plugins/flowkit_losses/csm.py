"""Score matching: the score, regressed on the conditional or on the exact marginal one."""

import torch
from torch import Tensor

from flowkit import Condition, Model, Path, Predictor, Quantity, TimeSampler, Weighting

from .distances import Distance
from .regression import Regression, exact_problems
from .times import UniformTime
from .weightings import NoiseVarianceWeighting

__all__ = ["ConditionalScoreMatching", "ScoreMatching", "score_problems"]


class ConditionalScoreMatching(Regression):
    r"""$E_{t,z,x_t} \lambda(t) |s^\theta_t(x_t) - \nabla\log p_t(x_t|z)|^2$, also called denoising score matching.

    It has the gradient of the score-matching loss against the marginal score: the two differ by a
    constant. The square is a mean over the event's elements.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t); the variance of the noise keeps every time at the same scale.
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Vincent 2011, A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23 (7).
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 7.
        https://arxiv.org/abs/2011.13456
    """

    quantity = Quantity.SCORE

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = NoiseVarianceWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        super().__init__(time, weighting, distance)

    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """The gradient of log p_t(x|z)."""
        return path.score(x, x0, z, t)

    def problems(self, model: Model) -> list[str]:
        """The path must have a conditional score."""
        return super().problems(model) + score_problems(model.path)


class ScoreMatching(Regression):
    r"""$E_{t,x_t} \lambda(t) |s^\theta_t(x_t) - \nabla\log p_t(x_t)|^2$, for a marginal score that is known.

    Arguments:
        exact: Gives grad log p_t(x), of the path and the data that are trained on.
        time: The distribution of t.
        weighting: lambda(t); the variance of the noise keeps every time at the same scale.
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Hyvarinen 2005, Estimation of Non-Normalized Statistical Models by Score Matching, section 2.
        https://jmlr.org/papers/v6/hyvarinen05a.html
    """

    quantity = Quantity.SCORE

    def __init__(
        self,
        exact: Predictor,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = NoiseVarianceWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        super().__init__(time, weighting, distance)
        self.exact: Predictor = exact

    @torch.no_grad()
    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """The gradient of log p_t(x), or of log p_t(x|y)."""
        return self.exact.score(x, t, y)

    def problems(self, model: Model) -> list[str]:
        """The exact field must have a score, and be of the path of the model."""
        return super().problems(model) + exact_problems(self.exact, self.quantity, model)


def score_problems(path: Path) -> list[str]:
    """Why a path has no target for a score."""
    return [] if path.has_score else [f"needs the conditional score, and {type(path).__name__} has none"]
