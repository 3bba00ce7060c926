"""What guided models have in common: whose fields they steer, and how a change of one field changes the others."""

import torch
from torch import Tensor

from flowkit import (
    Condition,
    Path,
    Predictor,
    Quantity,
    Time,
    UnsupportedError,
    concat_conditions,
    expand_time,
    no_condition,
)

__all__ = ["Fields", "Guided", "with_and_without"]

Fields = tuple[Tensor, ...]


class Guided(Predictor):
    """A model whose fields are steered.

    Arguments:
        model: Gives the fields.
    """

    def __init__(self, model: Predictor) -> None:
        self.model = model

    @property
    def path(self) -> Path | None:
        """The path of the model, if it says."""
        return getattr(self.model, "path", None)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What the model predicts."""
        return self.model.quantities

    def can_predict(self, wanted: Quantity) -> bool:
        """What the model gives."""
        return self.model.can_predict(wanted)

    def moved(self, fields: Fields, t: Time, wanted: tuple[Quantity, ...], moved: Quantity, by: Tensor) -> Fields:
        """The fields `wanted` of a model whose field `moved` changes.

        At fixed x and t each field of a path is affine in each other one, so they all change in proportion: a guided
        velocity and a guided score are those of one guided model.

        Arguments:
            fields: The fields as they were.
            t: The time.
            wanted: What they are.
            moved: The field that is given another value.
            by: Its change, shape (batch, *event).
        """
        return tuple(
            field + by if quantity is moved else field + _slope(self.path, t, moved, quantity, by) * by
            for field, quantity in zip(fields, wanted, strict=True)
        )


def with_and_without(
    model: Predictor, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]
) -> tuple[Fields, Fields]:
    """The fields with the condition, and without it, from one evaluation of a doubled batch."""
    if y is None:
        raise UnsupportedError("classifier-free guidance needs a condition y, and got none")
    both_times = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
    both = model.predict(torch.cat([x, x]), both_times, concat_conditions(y, no_condition(y)), wanted)
    conditional, unconditional = zip(*(field.chunk(2) for field in both), strict=True)
    return conditional, unconditional


def _slope(path: Path | None, t: Time, given: Quantity, wanted: Quantity, x: Tensor) -> Tensor | float:
    if path is None:
        raise UnsupportedError(
            f"this guidance changes the {given.value}, and what becomes of the {wanted.value} depends on the path, "
            f"which this model does not say: give it an attribute `path`"
        )
    if isinstance(t, Tensor) and t.ndim:
        times = t.to(torch.promote_types(t.dtype, x.dtype))  # a slope has the precision of its times
        return expand_time(path.slope(times, given, wanted), x)
    return path.slope(torch.tensor([float(t)], dtype=torch.float64), given, wanted).item()
