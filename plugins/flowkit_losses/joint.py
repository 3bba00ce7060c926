"""Velocity and score regressed together."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition, Loss, Model, Quantity, TimeSampler, Weighting

from .csm import score_problems
from .distances import squared
from .regression import noised, weighting_problems
from .times import UniformTime
from .weightings import BetaSquaredWeighting

__all__ = ["JointMatching"]


class JointMatching(Loss):
    r"""Conditional flow matching plus conditional score matching on one evaluation of the network.

    $E\,|u^\theta_t(x_t) - u_t(x_t|z)|^2 + w\,\lambda(t)\,|s^\theta_t(x_t) - \nabla\log p_t(x_t|z)|^2$: what
    the sampling SDE needs, both fields learned.

    Arguments:
        time: The distribution of t.
        score_weight: w.
        score_weighting: lambda(t).

    References:
        Tong et al. 2024, Simulation-Free Schrodinger Bridges via Score and Flow Matching, equation 11.
        https://arxiv.org/abs/2307.03672
    """

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        score_weight: Annotated[float, Field(gt=0)] = 1.0,
        score_weighting: Weighting = BetaSquaredWeighting(),  # noqa: B008
    ) -> None:
        self.time, self.score_weight, self.score_weighting = time, score_weight, score_weighting

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
        velocity, score = model.predict(x, t, y, (Quantity.VELOCITY, Quantity.SCORE))
        score_error = squared(score, model.path.score(x, x0, z, t))
        weight = self.score_weight * self.score_weighting.weight_on(Quantity.SCORE, t, model.path)
        loss = squared(velocity, model.path.velocity(x, x0, z, t)) + weight * score_error
        return self.time.corrected(t, loss)

    def problems(self, model: Model) -> list[str]:
        """The head must predict both fields: a converted one would be trained twice."""
        path = model.path
        problems = self.time.problems(path) + weighting_problems(self.score_weighting, Quantity.SCORE, path)
        problems += score_problems(path)
        if not {Quantity.VELOCITY, Quantity.SCORE} <= set(model.head.quantities):
            problems.append("trains a velocity and a score: use the head 'joint'")
        return problems

    def state(self) -> dict[str, Tensor]:
        """That of the times."""
        return self.time.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hand it to the times."""
        self.time.restore(state)
