"""Velocity and score regressed together."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition, Loss, Model, Quantity, TimeSampler, Weighting

from .csm import score_problems
from .distances import DISTANCES, Distance
from .regression import noised, weighting_problems
from .times import UniformTime
from .weightings import NoiseVarianceWeighting, UnitWeighting

__all__ = ["JointMatching"]


class JointMatching(Loss):
    r"""Conditional flow matching plus conditional score matching on one evaluation of the network.

    $E\,\mu(t)\,|u^\theta_t(x_t) - u_t(x_t|z)|^2 + w\,\lambda(t)\,|s^\theta_t(x_t) - \nabla\log p_t(x_t|z)|^2$: what
    the sampling SDE needs, both fields learned.

    Arguments:
        time: The distribution of t.
        score_weight: w.
        score_weighting: lambda(t); the variance of the noise keeps every time at the same scale.
        weighting: mu(t), of the velocity.
        distance: In place of both squares: "huber" or "pseudo_huber".

    References:
        Tong et al. 2024, Simulation-Free Schrodinger Bridges via Score and Flow Matching, equation 11.
        https://arxiv.org/abs/2307.03672
    """

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        score_weight: Annotated[float, Field(gt=0)] = 1.0,
        score_weighting: Weighting = NoiseVarianceWeighting(),  # noqa: B008
        weighting: Weighting = UnitWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        self.time, self.score_weight, self.score_weighting = time, score_weight, score_weighting
        self.weighting, self.distance = weighting, distance
        self._distance = DISTANCES[distance]

    def __call__(
        self,
        model: Model,
        x0: Tensor,
        z: Tensor,
        y: Condition = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss of each sample, shape (batch,)."""
        path = model.path
        t, x = noised(path, self.time, x0, z, generator)
        velocity, score = model.predict(x, t, y, (Quantity.VELOCITY, Quantity.SCORE))
        velocity_error = self._distance(velocity, path.velocity(x, x0, z, t))
        score_error = self._distance(score, path.score(x, x0, z, t))
        score_weight = self.score_weight * self.score_weighting.weight_on(Quantity.SCORE, t, path)
        velocity_weight = self.weighting.weight_on(Quantity.VELOCITY, t, path)
        return self.time.corrected(t, velocity_weight * velocity_error + score_weight * score_error)

    def problems(self, model: Model) -> list[str]:
        """The head must predict both fields: a converted one would be trained twice."""
        path = model.path
        problems = self.time.problems(path) + weighting_problems(self.weighting, Quantity.VELOCITY, path)
        problems += weighting_problems(self.score_weighting, Quantity.SCORE, path) + score_problems(path)
        if not {Quantity.VELOCITY, Quantity.SCORE} <= set(model.head.quantities):
            problems.append("trains a velocity and a score: use the head 'joint'")
        return problems

    def state(self) -> dict[str, Tensor]:
        """That of the times."""
        return self.time.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hand it to the times."""
        self.time.restore(state)
