"""The pairs (x0, z) and conditions of one training step after another."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ..conditions import Condition, drop_condition
from ..interfaces.coupling import Coupling
from ..interfaces.source import Source
from .batches import Batches

__all__ = ["Pairs"]

Triple = tuple[Tensor, Tensor, Condition]


class Pairs(Iterator[Triple]):
    """Batches of z with y, some y dropped, and x0 from the source; paired by the coupling.

    A coupling that solves something is given its batch while the step before it still runs: `look_ahead` draws the
    next batch and begins to pair it in a thread. Numbers are drawn in the same order as without, and `state` is
    that of before what was drawn ahead.

    Arguments:
        batches: Where (z, y) come from.
        source: Where x0 comes from.
        coupling: Which goes with which.
        event_shape: The shape of one data point.
        dropout: The probability that a sample loses its condition.
        generator: On the device of the batches. Others may draw from it between `__next__` and `look_ahead`.
    """

    def __init__(
        self,
        batches: Batches,
        source: Source,
        coupling: Coupling,
        event_shape: tuple[int, ...],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        self.batches, self.source, self.coupling = batches, source, coupling
        self.event_shape, self.dropout, self.generator = event_shape, dropout, generator
        self._pool = ThreadPoolExecutor(1, "coupling") if coupling.in_background else None
        self._ahead: Future[Triple] | None = None
        self._before = self._state_now()

    def __next__(self) -> Triple:
        if self._ahead is None:
            return self.coupling.pair(*self._draw(), self.generator)
        ahead, self._ahead = self._ahead, None
        return ahead.result()

    def look_ahead(self) -> None:
        """Begin with the next pairs, if that is of use. The generator is theirs until they are fetched."""
        if self._pool is not None:
            self._before = self._state_now()
            self._ahead = self._pool.submit(self.coupling.pair, *self._draw(), self.generator)

    def state(self) -> tuple[Tensor, Tensor, int]:
        """The state of the generator and that of the batches, as the next pairs find them."""
        return self._state_now() if self._ahead is None else self._before

    def restore(self, generator: Tensor, batches: Tensor, position: int) -> None:
        """Go to where `state` was taken."""
        self._ahead = None
        self.generator.set_state(generator)
        self.batches.restore(batches, position)

    def _state_now(self) -> tuple[Tensor, Tensor, int]:
        return (self.generator.get_state(), *self.batches.state())

    def _draw(self) -> Triple:
        z, y = next(self.batches)
        if self.dropout and y is not None:
            chance = torch.rand(len(z), generator=self.generator, device=z.device)
            y = drop_condition(y, chance < self.dropout)
        x0 = self.source.sample(len(z), self.event_shape, self.generator, z.device, z.dtype)
        return x0, z, y
