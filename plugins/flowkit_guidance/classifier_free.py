"""Classifier-free guidance, at some of the times, with its contrast restored."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition, Guidance, Predictor, Quantity, Time, expand_time

from .guided import Fields, Guided, with_and_without

__all__ = ["ClassifierFreeGuidance"]


class ClassifierFreeGuidance(Guidance):
    r"""$\tilde f_t(x|y) = f_t(x) + w\,(f_t(x|y) - f_t(x))$ for every field f, velocity and score alike.

    w = 0 ignores the condition, w = 1 is the plain conditional model, w > 1 exaggerates the condition.
    Both fields come from one evaluation of a doubled batch.

    **Interval.** At times outside it w = 1: the plain conditional model, and no doubled batch.

    **Rescaling.** Exaggeration raises the contrast of what the model predicts. With F the quantity that it predicts
    (the velocity, if that is not known) and standard deviations over the event of each sample,

    $$F_{\text{final}} = \varphi\, \frac{\operatorname{std} F_t(x|y)}{\operatorname{std} \tilde F}\, \tilde F
      + (1 - \varphi)\, \tilde F,$$

    and the other fields follow as those of one model.

    Arguments:
        scale: w.
        interval: The first and the last time at which it acts.
        rescale: phi, from 0 (none) to 1.

    References:
        Ho and Salimans 2022, Classifier-Free Diffusion Guidance, equation 6 (their w is ours less 1).
        https://arxiv.org/abs/2207.12598
        Kynkäänniemi et al. 2024, Applying Guidance in a Limited Interval. https://arxiv.org/abs/2404.07724
        Lin et al. 2023, Common Diffusion Noise Schedules and Sample Steps are Flawed, section 3.4.
        https://arxiv.org/abs/2305.08891
    """

    needs_dropped_conditions = True

    def __init__(
        self,
        scale: Annotated[float, Field(ge=0)] = 2.0,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        first, last = interval
        if not 0 <= first < last <= 1:
            raise ValueError(f"interval must be two times 0 <= first < last <= 1, got {list(interval)}")
        self.scale, self.interval, self.rescale = scale, (first, last), rescale

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        return model if self.scale == 1 else _ClassifierFree(model, self.scale, self.interval, self.rescale)


class _ClassifierFree(Guided):
    def __init__(self, model: Predictor, scale: float, interval: tuple[float, float], rescale: float) -> None:
        super().__init__(model)
        self.scale, self.interval, self.rescale = scale, interval, rescale

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> Fields:
        scale = self._scale_at(t, x)
        if isinstance(scale, float) and scale == 1:
            return self.model.predict(x, t, y, wanted)
        if not self.rescale:
            conditional, unconditional = with_and_without(self.model, x, t, y, wanted)
            return tuple(_extrapolate(*pair, scale) for pair in zip(conditional, unconditional, strict=True))
        rescaled = (*self.model.quantities, Quantity.VELOCITY)[0]
        conditional, unconditional = with_and_without(self.model, x, t, y, (rescaled, *wanted))
        guided, *fields = (_extrapolate(*pair, scale) for pair in zip(conditional, unconditional, strict=True))
        change = self.rescale * (_contrast(conditional[0], guided) - 1) * guided
        return self.moved(tuple(fields), t, wanted, rescaled, change)

    def _scale_at(self, t: Time, x: Tensor) -> float | Tensor:
        """`scale` in the interval and 1 outside."""
        first, last = self.interval
        if isinstance(t, Tensor) and t.ndim:
            inside = expand_time((t >= first) & (t <= last), x)
            return 1 + (self.scale - 1) * inside
        return float(self.scale) if first <= float(t) <= last else 1.0


def _extrapolate(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    return unconditional + scale * (conditional - unconditional)


def _contrast(wanted: Tensor, found: Tensor) -> Tensor:
    """The ratio of the standard deviations of each sample; 1 where there is no contrast to change.

    Neither 0 / 0 nor the root of 0 is computed even where it is not used: it would make gradients NaN.
    """
    wanted, found = (_variance(field) for field in (wanted, found))
    both = (wanted > 0) & (found > 0)
    ratio = torch.where(both, wanted, 1.0) / torch.where(both, found, 1.0)
    return torch.where((wanted == 0) & (found > 0), 0.0, ratio.sqrt())


def _variance(field: Tensor) -> Tensor:
    flat = field.flatten(1).var(dim=1, correction=0)
    return flat.reshape(-1, *(1,) * (field.ndim - 1))
