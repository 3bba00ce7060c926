"""Autoguidance: away from a worse version of the model."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from flowkit import Condition, Guidance, Predictor, Quantity, Time, same_path, unlike_data

from .guided import Fields, Guided

__all__ = ["Autoguidance"]


class Autoguidance(Guidance):
    r"""$\tilde f_t(x|y) = f^-_t(x|y) + w\,(f_t(x|y) - f^-_t(x|y))$ for every field f, with a worse model's $f^-$.

    Both models make errors of one sort, the worse one larger ones; w > 1 extrapolates beyond the better one. The worse
    model is smaller or trained for a shorter time, on the same data and the same path, with the same condition y, or
    none.

    Arguments:
        weaker: The worse model: a model in Python, `{name: run, folder: ...}` in a configuration.
        scale: w.

    References:
        Karras et al. 2024, Guiding a Diffusion Model with a Bad Version of Itself.
        https://arxiv.org/abs/2406.02507
    """

    needs_condition = False

    def __init__(self, weaker: Predictor, scale: Annotated[float, Field(ge=0)] = 2.0) -> None:
        self.weaker, self.scale = weaker, scale

    def problems(self, model: Predictor) -> list[str]:
        """A worse model of another path, or of other data."""
        found = []
        if not same_path(model, self.weaker):
            found = [
                "the weaker model of autoguidance has another path or schedule than the model: train it on the same one"
            ]
        if unlike := unlike_data(model, self.weaker):
            found.append(f"the weaker model of autoguidance has learned {unlike}: train it on the same data")
        return found

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        return model if self.scale == 1 else _Autoguided(model, self.weaker, self.scale)


class _Autoguided(Guided):
    def __init__(self, model: Predictor, weaker: Predictor, scale: float) -> None:
        super().__init__(model)
        self.weaker, self.scale = weaker, scale

    def can_predict(self, wanted: Quantity) -> bool:
        return self.model.can_predict(wanted) and self.weaker.can_predict(wanted)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> Fields:
        better, worse = (model.predict(x, t, y, wanted) for model in (self.model, self.weaker))
        return tuple(b + self.scale * (a - b) for a, b in zip(better, worse, strict=True))
