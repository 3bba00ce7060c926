"""What every predictor must do, guided or not: what the checks of fields and of guidance share."""

import torch
from torch import Tensor

from ..conditions import Condition
from ..interfaces.path import Path
from ..interfaces.predictor import Predictor
from ..interfaces.quantity import Quantity
from .check import NotApplicable, Subject, require, require_close

__all__ = [
    "ROUNDING",
    "TIMES",
    "precision_of",
    "predictable",
    "require_agreement_with_the_path",
    "require_batch_independence",
    "require_finite",
    "require_one_time_or_many",
    "require_order",
    "require_shapes",
]

TIMES = (0.02, 0.25, 0.5, 0.75, 0.98)
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""What the same numbers may differ by, added in another order through some layers."""


def precision_of(model: Predictor, subject: Subject, y: Condition) -> torch.dtype:
    """The type in which it is checked: float64, if it takes that. A network takes the type of its weights alone."""
    try:
        model.predict(subject.randn(4, 0), 0.4, y, predictable(model))
    except RuntimeError:
        return torch.float32
    return torch.float64


def predictable(model: Predictor) -> tuple[Quantity, ...]:
    """The fields that it says it can predict."""
    return tuple(quantity for quantity in Quantity if model.can_predict(quantity))


def require_shapes(model: Predictor, subject: Subject, y: Condition) -> None:
    """Every field has the shape and type of x."""
    wanted = predictable(model)
    require(bool(wanted), "can_predict is False for every quantity")
    for dtype in dict.fromkeys((torch.float32, precision_of(model, subject, y))):
        x = subject.randn(4, 0, dtype)
        fields = model.predict(x, 0.4, y, wanted)
        require(len(fields) == len(wanted), f"{len(wanted)} fields are asked for, and {len(fields)} come back")
        for quantity, field in zip(wanted, fields, strict=True):
            seen = (tuple(field.shape), field.dtype)
            require(seen == (tuple(x.shape), dtype), f"x is {(tuple(x.shape), dtype)}, and its {quantity.value} {seen}")


def require_finite(model: Predictor, subject: Subject, y: Condition) -> None:
    """Every field is finite inside (0, 1), near the origin and far from it."""
    wanted, x = predictable(model), subject.randn(4, 0, precision_of(model, subject, y))
    for t in TIMES:
        for scale in (1.0, 30.0):
            for quantity, field in zip(wanted, model.predict(scale * x, t, y, wanted), strict=True):
                bad = int((~field.isfinite()).sum())
                require(bad == 0, f"the {quantity.value} at t = {t}, |x| about {scale:g}, has {bad} NaN or infinities")


def require_order(model: Predictor, subject: Subject, y: Condition) -> None:
    """Fields come in the order that they are asked for."""
    wanted, x = predictable(model), subject.randn(4, 0, precision_of(model, subject, y))
    reverse = model.predict(x, 0.4, y, wanted[::-1])[::-1]
    for quantity, field, backwards in zip(wanted, model.predict(x, 0.4, y, wanted), reverse, strict=True):
        require_close(backwards, field, ROUNDING[x.dtype], f"the {quantity.value}, asked for in another order")
        (alone,) = model.predict(x, 0.4, y, (quantity,))
        require_close(alone, field, ROUNDING[x.dtype], f"the {quantity.value}, asked for alone")


def require_batch_independence(model: Predictor, subject: Subject, y: Tensor | None) -> None:
    """What becomes of a sample depends on that sample alone."""
    wanted, order = predictable(model), torch.tensor([2, 0, 3, 1])
    x = subject.randn(4, 0, precision_of(model, subject, y))
    t = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=x.dtype)
    whole = model.predict(x, t, y, wanted)
    shuffled = model.predict(x[order], t[order], None if y is None else y[order], wanted)
    alone = model.predict(x[:1], t[:1], None if y is None else y[:1], wanted)
    for quantity, field, other, single in zip(wanted, whole, shuffled, alone, strict=True):
        require_close(other, field[order], ROUNDING[x.dtype], f"the {quantity.value} of a batch in another order")
        require_close(
            single, field[:1], ROUNDING[x.dtype], f"the {quantity.value} of a sample alone instead of in a batch"
        )


def require_one_time_or_many(model: Predictor, subject: Subject, y: Condition) -> None:
    """A time as one number means the same as a time for each sample."""
    wanted, x = predictable(model), subject.randn(4, 0, precision_of(model, subject, y))
    for t in (0.25, 0.75):
        one = model.predict(x, t, y, wanted)
        many = model.predict(x, torch.full((4,), t, dtype=x.dtype), y, wanted)
        for quantity, first, second in zip(wanted, one, many, strict=True):
            require_close(
                second, first, ROUNDING[x.dtype], f"the {quantity.value} for t = [{t}, ...] instead of t = {t}"
            )


def require_agreement_with_the_path(model: Predictor, subject: Subject, y: Condition) -> None:
    """Where the model's path turns one field into another, the two that the model predicts are related like that."""
    path, wanted = getattr(model, "path", None), predictable(model)
    pairs = [
        (given, other)
        for given in wanted
        for other in wanted
        if isinstance(path, Path) and given is not other and path.can_convert(given, other)
    ]
    if not isinstance(path, Path) or not pairs:
        raise NotApplicable("it has no `path` that turns one of its fields into another")
    x = subject.randn(4, 0, precision_of(model, subject, y))
    for t in (0.25, 0.5, 0.75):
        fields = dict(zip(wanted, model.predict(x, t, y, wanted), strict=True))
        for given, other in pairs:
            converted = path.convert(fields[given], x, t, given, other)
            what = f"the {other.value} at t = {t}, against what the path makes of the {given.value}"
            require_close(fields[other], converted, 100 * ROUNDING[x.dtype], what)
