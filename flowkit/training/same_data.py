"""Whether the data that a run goes on with are those that it was started with, as far as facts about them tell."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["unlike"]

_CLOSE = 1e-2
"""Of the data's deviation: sums in another order, and images that another decoder reads, differ by much less."""


_NOT_TRAINED_ON = {"class_names", "image_range"}
"""What samples are written with, and nothing learns."""


def unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The facts that differ, in words; those that are younger than the run are left aside.

    Arguments:
        before: What `state.json` says of the data.
        now: What it would say today.
    """
    units = {"shift": now.get("scale"), "scale": now.get("scale"), "means": 1.0}
    return ", ".join(
        "some of the points are others" if key == "means" else f"{key} was {value} and is {now.get(key)}"
        for key, value in before.items()
        if key not in _NOT_TRAINED_ON
        and value != now.get(key)
        and not (key in units and _close(value, now.get(key), units[key]))
    )


def _close(before: Any, now: Any, unit: Any) -> bool:
    old, new, unit = (torch.as_tensor(value, dtype=torch.float64) for value in (before, now, unit))
    return old.shape == new.shape and bool(((old - new).abs() <= _CLOSE * unit).all())
