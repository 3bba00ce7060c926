"""Measuring samples against data, beside the best that could be seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .batch import Batch
from .conditions import select_condition
from .interfaces.data import Dataset, DataSource
from .interfaces.metric import Metric
from .random import derive_seed

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What one metric saw.

    Arguments:
        metric: Its label.
        value: Samples against data, the mean over the draws.
        floor: Data against data, two independent draws, the mean likewise: what a perfect model would get.
        samples: How many samples a side.
        repeats: How many draws.
    """

    metric: str
    value: float
    floor: float
    samples: int
    repeats: int

    @property
    def ratio(self) -> float:
        """`value` over `floor`."""
        return self.value / self.floor if self.floor else float("inf")


def evaluate(
    draw: Callable[[int, int], Batch],
    data: DataSource,
    metrics: Sequence[Metric],
    samples: int = 2048,
    repeats: int = 5,
    seed: int = 0,
) -> list[Evaluation]:
    """Measure generated samples with every metric.

    Arguments:
        draw: Gives n samples, in the units of the data, for a seed: `draw(n, seed)`.
        data: What they should look like. The two real draws of a finite data set are disjoint parts of it.
        metrics: How to measure.
        samples: Samples a side; at most half of a finite data set.
        repeats: How many independent draws are averaged.
        seed: Of the draws.
    """
    if isinstance(data, Dataset):
        samples = min(samples, len(data) // 2)
    values = torch.zeros(len(metrics), 2, dtype=torch.float64)
    for repeat in range(repeats):
        first, second = _two_draws(data, samples, derive_seed(seed, repeat, 1))
        generated = draw(samples, derive_seed(seed, repeat, 0))
        for i, metric in enumerate(metrics):
            values[i, 0] += metric.measure(generated, first) / repeats
            values[i, 1] += metric.measure(second, first) / repeats
    return [
        Evaluation(metric.label, float(value), float(floor), samples, repeats)
        for metric, (value, floor) in zip(metrics, values, strict=True)
    ]


def _two_draws(data: DataSource, n: int, seed: int) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(data, Dataset):
        both = data.draw(2 * n, generator)
    else:
        both = data.take(torch.randperm(len(data), generator=generator)[: 2 * n])
    halves = slice(0, n), slice(n, 2 * n)
    first, second = (Batch(both.z[half], select_condition(both.y, half)) for half in halves)
    return first, second
