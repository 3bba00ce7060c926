"""What the losses share: draw a time, go to x_t, compare a field of the model with a target, weigh."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from flowkit import (
    Condition,
    Loss,
    Model,
    Path,
    Predictor,
    Quantity,
    TimeSampler,
    Weighting,
    draw,
    same_path,
    unlike_data,
)

from .distances import DISTANCES, Distance
from .times import UniformTime
from .weightings import UnitWeighting

__all__ = ["Regression", "exact_problems", "field_problems", "noised", "sigma_data_problems", "weighting_problems"]


class Regression(Loss):
    r"""$E_{t,z,x_t}\, \lambda(t)\, d\left(f^\theta_t(x_t),\, f\right)$: a field of the model, regressed on a target f.

    A subclass says which field that is, `quantity`, and what it is regressed on, `target`. If the mean of f given x_t
    is the marginal field, then under the squared distance so is the minimum, for every weighting and every distribution
    of t. The other distances trade that for robustness: their minimum lies towards a median.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t).
        distance: d: "squared", "huber" or "pseudo_huber", each a mean over the elements of the event.
    """

    quantity: ClassVar[Quantity]

    def __init__(
        self,
        time: TimeSampler = UniformTime(),  # noqa: B008 (immutable)
        weighting: Weighting = UnitWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        self.time, self.weighting, self.distance = time, weighting, distance
        self._distance = DISTANCES[distance]

    @abstractmethod
    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """What the field is regressed on at x = x_t, shape (batch, *event)."""

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
        (prediction,) = model.predict(x, t, y, (self.quantity,))
        error = self._distance(prediction, self.target(path, x, x0, z, t, y))
        return self.time.corrected(t, self.weighting.weight_on(self.quantity, t, path) * error)

    def problems(self, model: Model) -> list[str]:
        """The model must give the field, and the times and the weighting must go with the path."""
        path = model.path
        problems = self.time.problems(path) + weighting_problems(self.weighting, self.quantity, path)
        problems += field_problems(self.quantity, model) + self._untrained(model)
        return problems + sigma_data_problems(self.weighting, model)

    def _untrained(self, model: Model) -> list[str]:
        """A head that gives several fields, of which this would train one and leave the others as they began."""
        fields = [quantity.value for quantity in model.head.quantities]
        if len(fields) < 2:
            return []
        return [
            f"trains one field, and {type(model.head).__name__} predicts {' and '.join(fields)}, each by an output of "
            f"its own: use the loss 'joint', or a head of one field"
        ]

    def state(self) -> dict[str, Tensor]:
        """That of the times."""
        return self.time.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hand it to the times."""
        self.time.restore(state)


def noised(
    path: Path, time: TimeSampler, x0: Tensor, z: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Times of shape (batch,), float32 at least, and the states x_t of the path at them."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    t = draw(lambda n, g: time.sample(n, g, z.device, dtype, path), len(z), generator)
    return t, path.sample(x0, z, t, generator)


def field_problems(quantity: Quantity, model: Model) -> list[str]:
    """Why a model does not give the field that a loss regresses."""
    if model.can_predict(quantity):
        return []
    return [f"needs the {quantity.value}, which {type(model.head).__name__} does not give here"]


def exact_problems(exact: Predictor, quantity: Quantity, model: Model) -> list[str]:
    """Why a field that is given is not what the model should learn."""
    problems = [] if exact.can_predict(quantity) else [f"{type(exact).__name__} knows no {quantity.value}"]
    if not same_path(model, exact):
        problems.append("exact is a field of another path or schedule than that of the model: give both the same one")
    if unlike := unlike_data(model, exact):
        problems.append(f"exact is a field of {unlike}: give one of the data that the model learns")
    return problems


def sigma_data_problems(weighting: Weighting, model: Model) -> list[str]:
    """A head and a weighting that take the same data for data of two deviations."""
    ours, theirs = (getattr(part, "sigma_data", None) for part in (weighting, model.head))
    if ours is None or theirs is None or ours == theirs:
        return []
    return [
        f"weighting.sigma_data is {ours:g} and head.sigma_data is {theirs:g}: both are the standard deviation of the "
        f"data as the model sees them, so give them one value"
    ]


def weighting_problems(weighting: Weighting, quantity: Quantity, path: Path) -> list[str]:
    """Why a weighting does not go with a loss on this quantity of this path."""
    problems = weighting.problems(path)
    if weighting.of is not None and not path.can_convert(quantity, weighting.of):
        problems.append(
            f"{type(weighting).__name__} weighs the error of the {weighting.of.value}, and {type(path).__name__} "
            f"cannot turn the {quantity.value} into that: use the weighting 'unit'"
        )
    return problems
