"""CFG-Zero*: classifier-free guidance of flows with an unconditional velocity of the right length."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition, Guidance, Predictor, Quantity, Time, expand_time

from .guided import Fields, Guided, with_and_without

__all__ = ["CFGZeroStar"]


class CFGZeroStar(Guidance):
    r"""$\tilde u_t(x|y) = s\,u_t(x) + w\,(u_t(x|y) - s\,u_t(x))$, and no velocity at all in the first steps.

    For each sample s is the factor with which the unconditional velocity is nearest to the conditional one,

    $$s = \frac{\langle u_t(x|y), u_t(x)\rangle}{\|u_t(x)\|^2}.$$

    An undertrained model is worst at the beginning, where standing still is better than its velocity: it is 0 at times
    up to `zero_until`. As 0 that is the first evaluation, which is the first step of Euler's method.

    The other fields of the guided model follow from its velocity. Both velocities come from one evaluation of a doubled
    batch.

    Arguments:
        scale: w.
        zero_until: The last time at which the velocity is 0; None: never.

    References:
        Fan et al. 2025, CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models.
        https://arxiv.org/abs/2503.18886
    """

    needs_dropped_conditions = True

    def __init__(
        self,
        scale: Annotated[float, Field(ge=0)] = 2.0,
        zero_until: Annotated[float, Field(ge=0, lt=1)] | None = 0.0,
    ) -> None:
        self.scale, self.zero_until = scale, zero_until

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        return _CFGZeroStar(model, self.scale, self.zero_until)


class _CFGZeroStar(Guided):
    def __init__(self, model: Predictor, scale: float, zero_until: float | None) -> None:
        super().__init__(model)
        self.scale, self.zero_until = scale, zero_until

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> Fields:
        conditional, unconditional = with_and_without(self.model, x, t, y, (Quantity.VELOCITY, *wanted))
        nearest = _projection(conditional[0], unconditional[0])
        velocity = self._begin_at_rest(nearest + self.scale * (conditional[0] - nearest), t)
        return self.moved(conditional[1:], t, wanted, Quantity.VELOCITY, velocity - conditional[0])

    def _begin_at_rest(self, velocity: Tensor, t: Time) -> Tensor:
        if self.zero_until is None:
            return velocity
        if isinstance(t, Tensor) and t.ndim:
            return expand_time((t > self.zero_until), velocity) * velocity
        return velocity if float(t) > self.zero_until else torch.zeros_like(velocity)


def _projection(wanted: Tensor, onto: Tensor) -> Tensor:
    """S u: the multiple of `onto` that is nearest to `wanted`, for each sample."""
    product, square = ((onto * other).flatten(1).sum(1) for other in (wanted, onto))
    # No multiple of nothing is nearer than another: 0 is taken, and 0 / 0 not computed, which would spoil gradients.
    factor = product / torch.where(square > 0, square, 1.0)
    return factor.reshape(-1, *(1,) * (onto.ndim - 1)) * onto
