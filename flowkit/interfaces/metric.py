"""Compares samples with data."""

from abc import ABC, abstractmethod

from ..batch import Batch

__all__ = ["Metric"]


class Metric(ABC):
    """A number that says how near generated samples are to data.

    Evaluation also measures two independent draws of the data against each other, so that every figure
    stands beside the best one that could be seen.
    """

    label: str = ""
    """How a report calls it."""

    higher_is_better: bool = False

    @abstractmethod
    def measure(self, generated: Batch, real: Batch) -> float:
        """Compare two batches, in the units of the data.

        Several pairs are compared at once, in threads: keep nothing between calls.
        """

    def problems(self, num_classes: int | None) -> list[str]:
        """Why this metric does not go with the data; asked when a pipeline is built."""
        del num_classes
        return []
