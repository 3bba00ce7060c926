"""Constructor parameters that the build fills in: they are known only once the data are, and are no settings."""

from dataclasses import dataclass
from typing import Annotated

__all__ = ["INJECTED", "INJECTED_ANNOTATIONS", "EventShape", "Injected", "NumClasses", "Outputs"]


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

INJECTED = frozenset({"event_shape", "num_classes", "outputs"})
"""The names of all of these values."""

INJECTED_ANNOTATIONS = frozenset({"EventShape", "NumClasses", "Outputs"})
"""How source text calls their annotations."""
