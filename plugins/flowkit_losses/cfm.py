"""Conditional flow matching."""

import torch
from torch import Tensor

from flowkit import Condition, Loss, Model, Quantity, TimeSampler, Weighting

from .regression import noised, squared_error
from .times import UniformTime
from .weightings import UnitWeighting

__all__ = ["ConditionalFlowMatching"]


class ConditionalFlowMatching(Loss):
    r"""$E_{t,z,x_t} \lambda(t) |u^\theta_t(x_t) - u_t(x_t|z)|^2$.

    It has the gradient of the flow-matching loss against the marginal velocity: the two differ by a
    constant. The square is a mean over the event's elements.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t).

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, equation 9 and theorem 2.
        https://arxiv.org/abs/2210.02747
    """

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = UnitWeighting(),  # noqa: B008
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
        error = squared_error(model.velocity(x, t, y), model.path.velocity(x, x0, z, t))
        return self.weighting.weight(t, model.path) * error

    def problems(self, model: Model) -> list[str]:
        """The model must have a velocity."""
        problems = self.weighting.problems(model.path)
        if not model.can_predict(Quantity.VELOCITY):
            problems.append(f"loss 'cfm' needs a velocity, which {type(model.head).__name__} does not give here")
        return problems
