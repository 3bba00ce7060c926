"""Data whose classes are some of those of a run, under the numbers that the run gave them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ..batch import Batch
from ..interfaces.data import Dataset, DataSource, DataSpec, Normalization

__all__ = ["in_classes_of"]


def in_classes_of(known: DataSpec, data: DataSource) -> DataSource:
    """The data with the class numbers of a run, which knows their classes by name: a part of its data that was held out
    may lack the rare ones. Data whose names are no part of the known ones are given back as they are.

    Arguments:
        known: What the run was trained on.
        data: What it is asked about.
    """
    names, order = data.spec.class_names, known.class_names
    if not names or names == order or not set(names) <= set(order):
        return data
    return _RenumberedSet(data, order) if isinstance(data, Dataset) else _Renumbered(data, order)


class _Renumbered(DataSource):
    def __init__(self, data: DataSource, order: Sequence[str]) -> None:
        self._data, self._order = data, tuple(order)
        numbers = [self._order.index(name) for name in data.spec.class_names]
        self._numbers = torch.tensor([*numbers, -1])  # none is -1, the last

    @property
    def spec(self) -> DataSpec:
        return replace(self._data.spec, num_classes=len(self._order), class_names=self._order)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        return self._renumbered(self._data.draw(n, generator))

    @cached_property
    def normalization(self) -> Normalization:
        return self._data.normalization

    @cached_property
    def source_normalization(self) -> Normalization:
        return self._data.source_normalization

    def _renumbered(self, batch: Batch) -> Batch:
        return replace(batch, y=self._numbers[batch.y]) if isinstance(batch.y, Tensor) else batch


class _RenumberedSet(_Renumbered, Dataset):
    _data: Dataset

    def __len__(self) -> int:
        return len(self._data)

    def take(self, index: Tensor) -> Batch:
        return self._renumbered(self._data.take(index))
