"""The schedule behind a path: alpha_t and beta_t as numbers, a whole grid at once."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit import Dynamics, Path, Quantity, Schedule, UnsupportedError

__all__ = ["Level", "is_gaussian", "levels", "levels_of", "schedule_of"]


class Level(NamedTuple):
    """A time, and how much data and noise there is then."""

    t: float
    alpha: float
    beta: float


def is_gaussian(path: Path | None) -> bool:
    """Whether p_t(x|z) = N(alpha_t z, beta_t^2 I): a schedule, and a score that follows from E[z|x]."""
    return path is not None and path.schedule is not None and path.can_convert(Quantity.DATA, Quantity.SCORE)


def schedule_of(path: Path | None) -> Schedule:
    """The schedule of a path that has one.

    Raises:
        UnsupportedError: It has none.
    """
    if path is None or path.schedule is None:
        raise UnsupportedError(f"this needs a path with a schedule; {type(path).__name__} has none")
    return path.schedule


def levels(schedule: Schedule, times: Tensor) -> list[Level]:
    """The levels at `times`, evaluated at once in float64."""
    columns = (times, schedule.alpha(times), schedule.beta(times))
    return [Level(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def levels_of(dynamics: Dynamics, times: Sequence[float] | Tensor, backwards: bool = False) -> list[Level]:
    """The levels of the path behind `dynamics`.

    Arguments:
        dynamics: The ODE of a model.
        times: The times.
        backwards: Whether they may fall, where no noise is added.

    Raises:
        UnsupportedError: It has no Gaussian path.
        ValueError: The times do not increase.
    """
    if not is_gaussian(dynamics.path):
        raise UnsupportedError(
            f"this needs the ODE of a model on a Gaussian path, ODE(model, path=...), not {dynamics}"
        )
    grid = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    found = levels(schedule_of(dynamics.path), grid)
    for now, then in pairwise(found):
        if then.t < now.t and not backwards:
            raise ValueError(f"noise is added forwards in time, not from {now.t} to {then.t}")
    return found
