"""Pairs (x0, z, y) without end for training, prepared ahead of the steps where the coupling takes its time."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor

from ..conditions import Condition, drop_condition
from ..interfaces.coupling import Coupling
from ..interfaces.source import Source
from ..random import draw
from .batches import Batches

__all__ = ["Pairs", "PairsState"]

_AHEAD = 2
"""How many groups of batches ahead. A second one evens out pairings that take longer than others."""
_TOGETHER = 16
"""Batches in a group, for couplings that take them together, as long as they are no more than `_NUMBERS_TOGETHER`
numbers: handing over every batch by itself takes short steps as long as pairing it, and long ones do not feel it."""
_NUMBERS_TOGETHER = 2**13

Pair = tuple[Tensor, Tensor, Condition]


class PairsState(NamedTuple):
    """Where a stream of pairs is: that of its batches (see `Batches.state`), and the state of its generator."""

    batches: Tensor
    position: int
    generator: Tensor


class Pairs(Iterator[Pair]):
    """An endless stream of pairs: a batch of data, conditions dropped, x0 drawn (or those of the data), both coupled.

    Within `with pairs:` the pairs of a coupling that asks for it (`Coupling.ahead`) are prepared ahead, in one thread,
    while the steps before them run; a few small batches together, if it takes them so (`Coupling.together`). They are
    the same pairs in the same order. `state` is that of the pairs taken, and an error comes up where the first pairs of
    its group are taken. On an accelerator nothing is prepared ahead: there the thread would only get in the way of the
    one that feeds the device.

    Arguments:
        batches: Where z and y come from.
        source: Where x0 come from, for data that bring none.
        coupling: Which goes with which.
        generator: The source of randomness, on the device of the batches. If pairs are prepared ahead, nothing else
            may draw from it.
        condition_dropout: The share of conditions that are dropped.
    """

    def __init__(
        self,
        batches: Batches,
        source: Source,
        coupling: Coupling,
        generator: torch.Generator,
        condition_dropout: float = 0.0,
    ) -> None:
        self.batches, self.source, self.coupling, self.generator = batches, source, coupling, generator
        self.condition_dropout = condition_dropout
        self._thread: ThreadPoolExecutor | None = None
        numbers = batches.batch_size * math.prod(batches.data.spec.event_shape)
        self._together = max(1, min(_TOGETHER, _NUMBERS_TOGETHER // numbers)) if coupling.together else 1
        self._coming: deque[Future[list[tuple[Pair, PairsState]]]] = deque()
        self._ready: deque[tuple[Pair, PairsState]] = deque()
        self._state: PairsState | None = None  # of the pairs taken, where others have been prepared

    def __enter__(self) -> "Pairs":
        if self.coupling.ahead and self.batches.device.type == "cpu":
            self._state = self.state()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowkit-pairs")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    @property
    def are_prepared_ahead(self) -> bool:
        """Whether a thread prepares them."""
        return self._thread is not None

    def __next__(self) -> Pair:
        if self._thread is None:
            return self.coupling.pair(*self._draw(), self.generator)
        if not self._ready:
            while len(self._coming) <= _AHEAD:
                self._coming.append(self._thread.submit(self._make_group))
            self._ready.extend(self._coming.popleft().result())
        pair, self._state = self._ready.popleft()
        return pair

    def state(self) -> PairsState:
        """Where the stream is."""
        return self._state or self._drawn_to()

    def restore(self, state: PairsState) -> None:
        """Go to where `state` was taken."""
        self.batches.restore(state.batches, state.position)
        self.generator.set_state(state.generator)

    def _drawn_to(self) -> PairsState:
        return PairsState(*self.batches.state(), self.generator.get_state())

    def _make_group(self) -> list[tuple[Pair, PairsState]]:
        """Pairs, each with the state after it."""
        if self._together == 1:
            return [(self.coupling.pair(*self._draw(), self.generator), self._drawn_to())]
        drawn = [(self._draw(), self._drawn_to()) for _ in range(self._together)]
        pairs = self.coupling.pair_each([batch for batch, _ in drawn])
        return [(pair, state) for pair, (_, state) in zip(pairs, drawn, strict=True)]

    def _draw(self) -> Pair:
        """x0, z and y that are not coupled yet."""
        batch = next(self.batches)
        z, y, x0 = batch.z, batch.y, batch.x0
        if self.condition_dropout and y is not None:
            chance = draw(lambda n, g: torch.rand(n, generator=g, device=z.device), len(z), self.generator)
            y = drop_condition(y, chance < self.condition_dropout)
        if x0 is None:
            event = z.shape[1:]
            x0 = draw(
                lambda n, g: self.source.sample(n, event, g, z.device, z.dtype), len(z), self.generator, event.numel()
            )
        return x0, z, y
