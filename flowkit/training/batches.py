"""Batches without end from a data source, normalised, on the device, and resumable to the sample."""

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ..batch import Batch
from ..conditions import select_condition, to_device
from ..interfaces.data import Dataset, DataSource, InMemory

__all__ = ["Batches"]

_DRAWN_AT_ONCE = 2**16
"""Points drawn from an endless source in one go, as long as they are no more than `_NUMBERS_AT_ONCE` numbers."""
_NUMBERS_AT_ONCE = 2**22
_TAKEN_AT_ONCE = 2**20
"""Batches in memory are taken together, as many as make up this many numbers (4 MiB): one by one they take longer."""
_RESIDENT = 2**26
"""Data sets of up to this many numbers are kept, normalised, on an accelerator (256 MiB in float32). The memory of a
CPU holds them once already: there it is those that are taken at once anyway."""


class Batches(Iterator[Batch]):
    """An endless stream of training batches.

    A finite data set is gone through in a new random order every epoch, less what does not fill a batch; it is
    drawn from with replacement if it is smaller than a batch. Draws are made in bulk. Of a data set that asks for it
    (`Dataset.ahead`) the next batch is taken in a thread, while the step before it runs.

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
        self.batch_size, share = batch_size, batch_size // world
        self._share, self._own = share, slice(rank * share, (rank + 1) * share)
        self._generator = torch.Generator().manual_seed(seed)
        self._start_state = self._generator.get_state()
        self._position = self._count = 0
        self._index = torch.empty(0)
        self._drawn: Batch | None = None  # of an endless source, what the index is into
        self._resident: Batch | None = None  # of a data set, what it is into; without either it is for `Dataset.take`
        limit = _TAKEN_AT_ONCE if self.device.type == "cpu" else _RESIDENT
        if isinstance(data, InMemory) and data.z.numel() <= limit:
            self._resident = self._on_device(Batch(data.z, data.y, data.x0))
        self._chunk: Batch | None = None
        self._chunked = range(0)  # the batches that are in the chunk
        in_memory = isinstance(data, InMemory) or not isinstance(data, Dataset)
        self._at_once = max(1, _TAKEN_AT_ONCE // (batch_size * self._numbers)) if in_memory else 1
        ahead = isinstance(data, Dataset) and data.ahead and not in_memory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowkit-data") if ahead else None
        self._coming: Future[Batch] | None = None  # the batch after the last one taken

    def __next__(self) -> Batch:
        if self._position == self._count:
            self._refill()
        if self._chunk is None or self._position not in self._chunked:
            self._chunk = self._take()
        first = (self._position - self._chunked.start) * self._share
        self._position += 1
        return _part(self._chunk, slice(first, first + self._share))

    def state(self) -> tuple[Tensor, int]:
        """Where the stream is: the generator's state when its bulk was drawn, and the batches used of it."""
        return self._start_state, self._position

    def restore(self, state: Tensor, position: int) -> None:
        """Go to where `state` was taken."""
        self._generator.set_state(state)
        self._position = self._count = 0
        self._coming = None
        if position:
            self._refill()
            self._position = position
        else:
            self._start_state = state

    @property
    def _numbers(self) -> int:
        """In a data point."""
        return math.prod(self.data.spec.event_shape)

    def _refill(self) -> None:
        """Begin an epoch, or draw in bulk."""
        self._start_state = self._generator.get_state()
        self._position = 0
        self._chunk = self._drawn = self._coming = None
        if not isinstance(self.data, Dataset):
            self._count = max(1, min(_DRAWN_AT_ONCE, _NUMBERS_AT_ONCE // self._numbers) // self.batch_size)
            self._drawn = self.data.draw(self._count * self.batch_size, self._generator)
            self._index = torch.arange(self._count * self.batch_size)
            return
        size = len(self.data)
        self._count = max(1, size // self.batch_size)
        if size >= self.batch_size:
            self._index = torch.randperm(size, generator=self._generator)
        else:
            self._index = torch.randint(size, (self.batch_size,), generator=self._generator)
        if self._resident is not None:
            self._index = self._index.to(self.device)

    def _take(self) -> Batch:
        """The share of this process in the next batches."""
        self._chunked = range(self._position, min(self._position + self._at_once, self._count))
        index = self._own_rows(self._chunked)
        if self._resident is not None:
            return _part(self._resident, index)
        if self._drawn is not None:
            return self._on_device(_part(self._drawn, index))
        assert isinstance(self.data, Dataset)
        batch = self._coming.result() if self._coming is not None else self.data.take(index)
        after = range(self._chunked.stop, min(self._chunked.stop + 1, self._count))
        self._coming = self._thread.submit(self.data.take, self._own_rows(after)) if self._thread and after else None
        return self._on_device(batch)

    def _own_rows(self, batches: range) -> Tensor:
        """The places of the share of this process in some batches."""
        rows = self._index[batches.start * self.batch_size : batches.stop * self.batch_size]
        return rows.reshape(-1, self.batch_size)[:, self._own].flatten()

    def _on_device(self, batch: Batch) -> Batch:
        z = self.data.normalization.normalize(batch.z.to(self.device, non_blocking=True))
        x0 = batch.x0
        if x0 is not None:
            x0 = self.data.source_normalization.normalize(x0.to(self.device, non_blocking=True)).to(self.dtype)
        return Batch(z.to(self.dtype), to_device(batch.y, self.device), x0)


def _part(batch: Batch, index: Tensor | slice) -> Batch:
    x0 = None if batch.x0 is None else batch.x0[index]
    return Batch(batch.z[index], select_condition(batch.y, index), x0)
