"""Conditional score matching, also called denoising score matching."""

import torch
from torch import Tensor

from flowkit import Condition, Loss, Model, Quantity, TimeSampler, Weighting

from .regression import noised, squared_error
from .times import UniformTime
from .weightings import BetaSquaredWeighting

__all__ = ["ConditionalScoreMatching", "score_problems"]


class ConditionalScoreMatching(Loss):
    r"""$E_{t,z,x_t} \lambda(t) |s^\theta_t(x_t) - \nabla\log p_t(x_t|z)|^2$.

    It has the gradient of the score-matching loss against the marginal score: the two differ by a
    constant. The square is a mean over the event's elements.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t); beta_t^2 keeps every time at the same scale.

    References:
        Vincent 2011, A Connection Between Score Matching and Denoising Autoencoders, equation 9.
        Song et al. 2021, Score-Based Generative Modeling through SDEs, equation 7.
        https://arxiv.org/abs/2011.13456
    """

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = BetaSquaredWeighting(),  # noqa: B008
    ) -> None:
        self.time, self.weighting = time, weighting

    def __call__(
        self,
        model: Model,
        x0: Tensor,
        z: Tensor,
        y: Condition = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss of each sample, shape (batch,)."""
        t, x = noised(model.path, self.time, x0, z, generator)
        error = squared_error(model.score(x, t, y), model.path.score(x, x0, z, t))
        return self.weighting.weight(t, model.path) * error

    def problems(self, model: Model) -> list[str]:
        """Path and model must have a score."""
        return self.weighting.problems(model.path) + score_problems("csm", model)


def score_problems(loss: str, model: Model) -> list[str]:
    """Why a loss on the score cannot train this model."""
    if not model.path.has_score:
        return [f"loss {loss!r} needs the conditional score, and {type(model.path).__name__} has none"]
    if not model.can_predict(Quantity.SCORE):
        return [f"loss {loss!r} needs a score, which {type(model.head).__name__} does not give here"]
    return []
