"""Batches without end from a data source, normalised, on the device, and resumable to the sample."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..batch import Batch
from ..conditions import select_condition, to_device
from ..interfaces.data import Dataset, DataSource, InMemory

__all__ = ["Batches"]

_DRAWN_AT_ONCE = 2**16
"""Points drawn from an endless source in one go, as long as they are no more than `_NUMBERS_AT_ONCE` numbers."""
_NUMBERS_AT_ONCE = 2**24
_RESIDENT = 2**26
"""Data sets of up to this many numbers are kept, normalised, on the device (256 MiB in float32)."""


class Batches(Iterator[Batch]):
    """An endless stream of training batches.

    A finite data set is gone through in a new random order every epoch, less what does not fill a batch; it is
    drawn from with replacement if it is smaller than a batch. Draws are made in bulk.

    Arguments:
        data: The data.
        batch_size: Samples a batch, over all processes.
        seed: Of the order, or of the draws.
        device: Where batches go.
        dtype: The type that the model takes.
        rank: The index of this process.
        world: How many processes share a batch.
    """

    def __init__(
        self,
        data: DataSource,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data, self.device, self.dtype = data, torch.device(device), dtype
        self.batch_size, self.rank, self.world = batch_size, rank, world
        self._generator = torch.Generator().manual_seed(seed)
        self._resident: Batch | None = None
        if isinstance(data, InMemory) and data.z.numel() <= _RESIDENT:
            self._resident = self._on_device(Batch(data.z, data.y, data.x0))
        self._start_state = self._generator.get_state()
        self._position = self._count = 0
        self._index: Tensor | None = None
        self._chunk: Batch | None = None

    def __next__(self) -> Batch:
        if self._position == self._count:
            self._refill()
        first = self._position * self.batch_size
        self._position += 1
        share = self.batch_size // self.world
        part = slice(first + self.rank * share, first + (self.rank + 1) * share)
        if self._chunk is not None:
            return _part(self._chunk, part)
        assert self._index is not None
        assert isinstance(self.data, Dataset)
        return self._on_device(self.data.take(self._index[part]))

    def state(self) -> tuple[Tensor, int]:
        """Where the stream is: the generator's state when its bulk was drawn, and the batches used of it."""
        return self._start_state, self._position

    def restore(self, state: Tensor, position: int) -> None:
        """Go to where `state` was taken."""
        self._generator.set_state(state)
        self._position = self._count = 0
        if position:
            self._refill()
            self._position = position
        else:
            self._start_state = state

    def _refill(self) -> None:
        self._start_state = self._generator.get_state()
        self._position = 0
        self._chunk = self._index = None
        if not isinstance(self.data, Dataset):
            points = min(_DRAWN_AT_ONCE, _NUMBERS_AT_ONCE // math.prod(self.data.spec.event_shape))
            self._count = max(1, points // self.batch_size)
            self._chunk = self._on_device(self.data.draw(self._count * self.batch_size, self._generator))
            return
        size = len(self.data)
        self._count = max(1, size // self.batch_size)
        if size >= self.batch_size:
            index = torch.randperm(size, generator=self._generator)
        else:
            index = torch.randint(size, (self.batch_size,), generator=self._generator)
        if self._resident is None:
            self._index = index
            return
        index = index.to(self.device)
        self._chunk = _part(self._resident, index)

    def _on_device(self, batch: Batch) -> Batch:
        z = self.data.normalization.normalize(batch.z.to(self.device, non_blocking=True))
        x0 = batch.x0
        if x0 is not None:
            x0 = self.data.source_normalization.normalize(x0.to(self.device, non_blocking=True)).to(self.dtype)
        return Batch(z.to(self.dtype), to_device(batch.y, self.device), x0)


def _part(batch: Batch, index: Tensor | slice) -> Batch:
    x0 = None if batch.x0 is None else batch.x0[index]
    return Batch(batch.z[index], select_condition(batch.y, index), x0)
