"""Flow matching: the velocity, regressed on the conditional or on the exact marginal one."""

import torch
from torch import Tensor

from flowkit import Condition, Model, Path, Predictor, Quantity, TimeSampler, Weighting

from .distances import Distance
from .regression import Regression, exact_problems
from .times import UniformTime
from .weightings import UnitWeighting

__all__ = ["ConditionalFlowMatching", "FlowMatching"]


class ConditionalFlowMatching(Regression):
    r"""$E_{t,z,x_t} \lambda(t) |u^\theta_t(x_t) - u_t(x_t|z)|^2$.

    It has the gradient of the flow-matching loss against the marginal velocity: the two differ by a
    constant. The square is a mean over the event's elements.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t).
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, equation 9 and theorem 2.
        https://arxiv.org/abs/2210.02747
    """

    quantity = Quantity.VELOCITY

    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """u_t(x|z)."""
        return path.velocity(x, x0, z, t)


class FlowMatching(Regression):
    r"""$E_{t,x_t} \lambda(t) |u^\theta_t(x_t) - u_t(x_t)|^2$, for a marginal velocity that is known.

    The loss that conditional flow matching stands in for, without the variance of its target.

    Arguments:
        exact: Gives u_t(x), of the path and the data that are trained on.
        time: The distribution of t.
        weighting: lambda(t).
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, equation 5. https://arxiv.org/abs/2210.02747
    """

    quantity = Quantity.VELOCITY

    def __init__(
        self,
        exact: Predictor,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = UnitWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        super().__init__(time, weighting, distance)
        self.exact: Predictor = exact

    @torch.no_grad()
    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """u_t(x), or u_t(x|y)."""
        return self.exact.velocity(x, t, y)

    def problems(self, model: Model) -> list[str]:
        """The exact field must have a velocity, and be of the path of the model."""
        return super().problems(model) + exact_problems(self.exact, self.quantity, model)
