"""What the mutants of fields and of guidance have in common: a predictor that changes what another one predicts."""

import torch

from flowkit import Predictor, Quantity


class Wrapped(Predictor):
    """Another predictor, wrong somewhere."""

    def __init__(self, model):
        self.model = model

    @property
    def path(self):
        return self.model.path

    @property
    def quantities(self):
        return self.model.quantities

    def can_predict(self, wanted):
        return self.model.can_predict(wanted)

    def predict(self, x, t, y, wanted):
        return self.model.predict(x, t, y, wanted)


class Widened(Wrapped):
    def predict(self, x, t, y, wanted):
        return tuple(field.double() for field in super().predict(x, t, y, wanted))


class Overflowing(Wrapped):
    def predict(self, x, t, y, wanted):
        weight = torch.exp(x.square().sum() / 2)
        return tuple(weight * field / weight for field in super().predict(x, t, y, wanted))


class InOneOrder(Wrapped):
    def predict(self, x, t, y, wanted):
        return super().predict(x, t, y, tuple(quantity for quantity in Quantity if quantity in wanted))


class OverTheBatch(Wrapped):
    def predict(self, x, t, y, wanted):
        return tuple(field - field.mean(0) for field in super().predict(x, t, y, wanted))


class FirstTime(Wrapped):
    def predict(self, x, t, y, wanted):
        late = isinstance(t, torch.Tensor) and t.ndim
        return super().predict(x, t * 0.9 if late else t, y, wanted)


class VelocityOnly(Wrapped):
    """Changes the velocity, and leaves the score as it was."""

    def predict(self, x, t, y, wanted):
        fields = super().predict(x, t, y, wanted)
        return tuple(2 * f if q is Quantity.VELOCITY else f for q, f in zip(wanted, fields, strict=True))


class Modest(Wrapped):
    """Predicts more than it says."""

    def can_predict(self, wanted):
        return wanted is not Quantity.VELOCITY


class Rotating(Wrapped):
    """A score that is no gradient."""

    def predict(self, x, t, y, wanted):
        fields = super().predict(x, t, y, wanted)
        return tuple(
            f + 0.1 * x.flip(1) * x[:, :1] if q is Quantity.SCORE else f for q, f in zip(wanted, fields, strict=True)
        )
