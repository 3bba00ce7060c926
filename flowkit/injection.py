"""Constructor parameters that the build fills in: they are known only once the data are, and are no settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

__all__ = ["INJECTED", "INJECTED_ANNOTATIONS", "EventShape", "Injected", "NumClasses", "Outputs", "TrainingData"]


@dataclass(frozen=True)
class Injected:
    """Marks a parameter by the name of the value it is given."""

    value: str


EventShape = Annotated[tuple[int, ...], Injected("event_shape")]
"""The shape of one data point, such as (2,) or (1, 8, 8)."""

Outputs = Annotated[int, Injected("outputs")]
"""How many event-shaped outputs the head asks of the network."""

NumClasses = Annotated[int | None, Injected("num_classes")]
"""How many classes the labels have, or None without labels."""

TrainingData = Annotated[Callable[[], Any] | None, Injected("training_data")]
"""Gives the data of the pipeline, a `DataSource`, which it may have to load; for sources."""

INJECTED = frozenset({"event_shape", "num_classes", "outputs", "training_data"})
"""The names of all of these values."""

INJECTED_ANNOTATIONS = frozenset({"EventShape", "NumClasses", "Outputs", "TrainingData"})
"""How source text calls their annotations."""
