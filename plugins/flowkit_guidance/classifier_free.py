"""Classifier-free guidance."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import (
    Condition,
    Guidance,
    Predictor,
    Quantity,
    Time,
    UnsupportedError,
    concat_conditions,
    no_condition,
)

__all__ = ["ClassifierFreeGuidance"]


class ClassifierFreeGuidance(Guidance):
    r"""$\tilde f_t(x|y) = f_t(x) + w\,(f_t(x|y) - f_t(x))$ for every field f, velocity and score alike.

    w = 0 ignores the condition, w = 1 is the plain conditional model, w > 1 exaggerates the condition.
    Both fields come from one evaluation of a doubled batch.

    Arguments:
        scale: w.

    References:
        Ho and Salimans 2022, Classifier-Free Diffusion Guidance, equation 6 (their w is ours less 1).
        https://arxiv.org/abs/2207.12598
    """

    needs_dropped_conditions = True

    def __init__(self, scale: Annotated[float, Field(ge=0)] = 2.0) -> None:
        self.scale = scale

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        return model if self.scale == 1 else _Guided(model, self.scale)


class _Guided(Predictor):
    def __init__(self, model: Predictor, scale: float) -> None:
        self.model, self.scale = model, scale

    def can_predict(self, wanted: Quantity) -> bool:
        return self.model.can_predict(wanted)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        if y is None:
            raise UnsupportedError("classifier-free guidance needs a condition y, and got none")
        both_times = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
        both = self.model.predict(torch.cat([x, x]), both_times, concat_conditions(y, no_condition(y)), wanted)
        return tuple(self._extrapolate(*field.chunk(2)) for field in both)

    def _extrapolate(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        return unconditional + self.scale * (conditional - unconditional)
