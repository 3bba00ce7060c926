"""Measuring samples against data, beside the best that could be seen."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from .batch import Batch
from .conditions import Condition, select_condition
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
        value_error: The standard error of `value`, NaN for one draw.
        floor: Data against data, two independent draws, the mean likewise: what a perfect model would get.
        floor_error: That of `floor`.
        ratio_error: That of `ratio`.
        samples: How many samples a side.
        repeats: How many draws.
        higher_is_better: Whether a larger value is nearer to the data.
    """

    metric: str
    value: float
    value_error: float
    floor: float
    floor_error: float
    ratio_error: float
    samples: int
    repeats: int
    higher_is_better: bool = False

    @property
    def ratio(self) -> float:
        """`value` over `floor`."""
        return self.value / self.floor if self.floor else float("inf")


def evaluate(
    draw: Callable[[int, int, Condition], Batch],
    data: DataSource,
    metrics: Sequence[Metric],
    samples: int = 2048,
    repeats: int = 5,
    seed: int = 0,
) -> list[Evaluation]:
    """Measure generated samples with every metric.

    Each draw of samples is compared with two independent draws of data, and these with each other: the figure then
    shares some of its chance variation with its floor.

    Arguments:
        draw: Gives n samples in the units of the data for a seed and conditions, which are those of n data points:
            `draw(n, seed, y)`.
        data: What they should look like. The two real draws of a finite data set are disjoint parts of it.
        metrics: How to measure.
        samples: Samples a side; at most half of a finite data set.
        repeats: How many independent draws are averaged.
        seed: Of the draws.
    """
    if isinstance(data, Dataset):
        samples = min(samples, len(data) // 2)
    pairs: list[tuple[Metric, Batch, Batch]] = []
    for repeat in range(repeats):
        y = data.draw(samples, torch.Generator().manual_seed(derive_seed(seed, repeat, 2))).y
        generated = draw(samples, derive_seed(seed, repeat, 0), y)
        first, second = _two_draws(data, samples, derive_seed(seed, repeat, 1))
        for metric in metrics:
            pairs += [(metric, generated, first), (metric, generated, second), (metric, second, first)]
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:  # one thread a pair, in libraries too
        measured = list(pool.map(lambda pair: pair[0].measure(pair[1], pair[2]), pairs))
    table = torch.tensor(measured, dtype=torch.float64).reshape(repeats, len(metrics), 3)
    values, floors = table[..., :2].mean(-1), table[..., 2]
    return [_summary(metric, values[:, i], floors[:, i], samples, repeats) for i, metric in enumerate(metrics)]


def _summary(metric: Metric, values: torch.Tensor, floors: torch.Tensor, samples: int, repeats: int) -> Evaluation:
    """Means over the draws with their standard errors, that of the ratio to first order in the deviations."""
    value, floor = values.mean(), floors.mean()
    deviations = (values, floors, (values - value / floor * floors) / floor)
    errors = [float(x.std() / repeats**0.5) if repeats > 1 else float("nan") for x in deviations]
    better = metric.higher_is_better
    return Evaluation(
        metric.label, float(value), errors[0], float(floor), errors[1], errors[2], samples, repeats, better
    )


def _two_draws(data: DataSource, n: int, seed: int) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(data, Dataset):
        both = data.draw(2 * n, generator)
    else:
        both = data.take(torch.randperm(len(data), generator=generator)[: 2 * n])
    halves = slice(0, n), slice(n, 2 * n)
    first, second = (Batch(both.z[half], select_condition(both.y, half)) for half in halves)
    return first, second
