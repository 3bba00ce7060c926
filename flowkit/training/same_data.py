"""Whether the data that a run goes on with are those that it was started with, as far as facts about them tell."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["unlike"]

_CLOSE = 1e-2
"""Of the data's deviation: sums in another order, and images that another decoder reads, differ by much less."""

_FROM_POINTS = {
    "means": "some of the points are others",
    "means of x0": "some x0 are others",
    "labels": "some of the labels are others",
}
"""What is told of facts that nobody knows by heart."""


def unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The facts that differ, in words; those that are younger than the run are left aside.

    Arguments:
        before: What `state.json` says of the data.
        now: What it would say today.
    """
    units = {"shift": now.get("scale"), "scale": now.get("scale"), "means": 1.0, "means of x0": 1.0}
    return ", ".join(
        _FROM_POINTS.get(key, f"{key} was {value} and is {now.get(key)}")
        for key, value in before.items()
        # Classes may be given names, and images a range: samples are written with them, and nothing learns them.
        if not (key == "image_range" or (key == "class_names" and not value))
        and value != now.get(key)
        and not (key in units and _close(value, now.get(key), units[key]))
    )


def _close(before: Any, now: Any, unit: Any) -> bool:
    old, new, unit = (torch.as_tensor(value, dtype=torch.float64) for value in (before, now, unit))
    return old.shape == new.shape and bool(((old - new).abs() <= _CLOSE * unit).all())
