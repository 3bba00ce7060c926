"""Random numbers that belong to samples, not to batches.

Sample i of a seed must be the same whatever the batch it is computed in. So samples are dealt out in blocks
of 256, or fewer where they are large, every block has its own stream derived from (seed, block), and a block is always
drawn whole.

In training, the random numbers of a sample must be the same whatever shares the batch is cut into: every process draws
those of the whole batch, and takes its share.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["BLOCK", "BlockGenerator", "Generator", "ShareGenerator", "block_size", "derive_seed", "draw", "randn_like"]

BLOCK = 256
BLOCK_NUMBERS = 2**20
"""A block takes no more random numbers than this, unless one sample does."""
WHOLE = 2**22
"""A batch is drawn in one go if it takes no more random numbers than this."""

Draw = Callable[[int, torch.Generator | None], Tensor]
"""Draws n times from a generator: shape (n, ...)."""


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from integers of 64 bits, well mixed: other parts, or another number of them, another stream."""
    # SeedSequence takes words of 32 bits and ignores zeros at the end, so all words and their number are written out.
    words = [len(parts), *(word for part in parts for word in divmod(part, 2**32))]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def block_size(numbers: int) -> int:
    """How many samples a block has: 256 of up to 4096 numbers each, and a power of two of larger ones.

    Arguments:
        numbers: Random numbers a sample.
    """
    fitting = max(1, BLOCK_NUMBERS // max(1, numbers))
    return min(BLOCK, 2 ** (fitting.bit_length() - 1))


class BlockGenerator:
    """One random stream a block of samples. Draws with blocks of different sizes have streams of their own.

    Arguments:
        seed: The seed of the whole set of samples.
        start: The index of the first sample.
        count: How many samples.
        device: Where the numbers are drawn.
    """

    def __init__(self, seed: int, start: int, count: int, device: torch.device | str = "cpu") -> None:
        self.count = count
        self._seed, self._start, self._device = seed, start, device
        self._streams: dict[int, list[torch.Generator]] = {}

    def draw(self, function: Draw, numbers: int = 1) -> Tensor:
        """`function(size, generator)` for every block, cut to the samples there are.

        Arguments:
            function: Draws.
            numbers: Random numbers a sample, which decide the size of a block (see `block_size`).
        """
        size = block_size(numbers)
        blocks = [function(size, generator) for generator in self._of(size)]
        drawn = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        skipped = self._start % size  # samples of the first block that come before
        # A part that is kept should not keep the memory of the whole.
        return drawn if len(drawn) == self.count else drawn[skipped : skipped + self.count].clone()

    def _of(self, size: int) -> list[torch.Generator]:
        """The streams of the blocks of that size that the samples touch."""
        if size not in self._streams:
            blocks = range(self._start // size, -(-(self._start + self.count) // size))
            # Four parts for small blocks, as no other stream has: block 7 of four samples is not block 7 of 256.
            parts = [(self._seed, block) if size == BLOCK else (self._seed, block, size, BLOCK) for block in blocks]
            self._streams[size] = [torch.Generator(self._device).manual_seed(derive_seed(*part)) for part in parts]
        return self._streams[size]


_get_state, _set_state = torch.Generator.get_state, torch.Generator.set_state


class ShareGenerator(torch.Generator):
    """The random numbers of a share of a training batch: those that one process would draw for all of it.

    `draw` makes the draws of the whole batch, on every process alike, and cuts out those of the share. A batch that
    takes more than 2^22 numbers is drawn in blocks of that many, each with a stream of its own, and only those that the
    share touches. So no share costs more than 2^23 numbers above its own, however many processes there are.

    To all who draw from it as from any `torch.Generator` it is the stream of this process alone. One process that takes
    its batch in one piece has only one stream for both.

    Arguments:
        seed: Of the batches; the same on every process.
        batch: Samples in a batch.
        rank: The index of this process.
        world: How many processes share a batch.
        pieces: In how many pieces a process goes through its share.
        device: Where the numbers are drawn.
    """

    def __new__(cls, *arguments: Any, device: torch.device | str = "cpu", **named: Any) -> Self:
        """A generator on that device."""
        return super().__new__(cls, device)  # type: ignore[call-arg]

    def __init__(
        self,
        seed: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
        pieces: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch, self._seed, self._rank, self._pieces = batch, seed, rank, pieces
        self.share = range(rank * (batch // world), (rank + 1) * (batch // world))
        self._blocked = 0  # draws in blocks so far
        self._whole: torch.Generator = self
        self.manual_seed(seed)
        if world * pieces > 1:
            self._whole = torch.Generator(device).manual_seed(seed)
            self.part_ways()

    def draw(self, function: Draw, n: int, numbers: int = 1) -> Tensor:
        """What `function(batch, generator)` gives for the share.

        Arguments:
            function: Draws.
            n: Samples in the share; if they are not, the numbers are those of this process alone.
            numbers: Random numbers a sample.
        """
        if n != len(self.share):
            return function(n, self)
        if self.batch * numbers > WHOLE:
            return self._draw_blocks(function, max(1, WHOLE // numbers))
        drawn = function(self.batch, self._whole)
        return drawn if n == self.batch else drawn[self.share.start : self.share.stop]

    def pieces(self) -> Iterator[range]:
        """Where in the share each piece is; meanwhile it alone is drawn for, from the same draws of the whole batch."""
        share, state, blocked = self.share, _get_state(self._whole), self._blocked
        size = len(share) // self._pieces
        for first in range(0, len(share), size):
            _set_state(self._whole, state)
            self._blocked = blocked
            self.share = share[first : first + size]
            yield range(first, first + size)
        self.share = share

    def part_ways(self, *now: int) -> None:
        """Begin the stream of this process alone, unlike any other's, and unlike the one begun at another `now`."""
        if self._whole is not self:
            self.manual_seed(derive_seed(self._seed, self._rank, *now))

    def get_state(self) -> Tensor:
        """The states of both streams. That of the whole batch comes first, whatever the shares."""
        blocked = torch.frombuffer(bytearray(self._blocked.to_bytes(8)), dtype=torch.uint8)
        state = [_get_state(self._whole), blocked]
        return torch.cat(state if self._whole is self else [*state, _get_state(self)])

    def set_state(self, state: Tensor) -> Self:
        """Go to where `state` was taken, perhaps by another number of processes."""
        size = len(_get_state(self._whole))
        whole, blocked, own = state.tensor_split((size, size + 8))
        _set_state(self._whole, whole.clone())
        self._blocked = int.from_bytes(bytes(blocked.tolist()))
        if self._whole is not self and len(own):
            _set_state(self, own.clone())  # its memory must be aligned
        return self

    def _draw_blocks(self, function: Draw, size: int) -> Tensor:
        first, last = self.share.start // size, -(-self.share.stop // size)
        seeds = [derive_seed(self._seed, self._blocked, block) for block in range(first, last)]
        self._blocked += 1
        drawn = torch.cat([function(size, torch.Generator(self.device).manual_seed(seed)) for seed in seeds])
        return drawn[self.share.start - first * size : self.share.stop - first * size]


Generator = torch.Generator | BlockGenerator
"""What an integrator is given to draw from."""


def draw(function: Draw, n: int, generator: Generator | None = None, numbers: int = 1) -> Tensor:
    """`function(n, generator)` for the n samples of a batch, of which they may be a share.

    A loss that draws its times, or anything else of each sample, in this way trains the same model on any number of
    processes, and in any number of pieces a batch (see `ShareGenerator`).

    Arguments:
        function: Draws from the generator that it is given; shape (n, ...).
        n: Samples in the batch.
        generator: Of either kind, or None for torch's global one.
        numbers: Random numbers a sample.
    """
    if isinstance(generator, ShareGenerator):
        return generator.draw(function, n, numbers)
    if isinstance(generator, BlockGenerator):
        return generator.draw(function, numbers)
    return function(n, generator)


def randn_like(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of x, from either kind of generator."""
    event, numbers = x.shape[1:], math.prod(x.shape[1:])
    return draw(
        lambda n, g: torch.randn((n, *event), generator=g, dtype=x.dtype, device=x.device), len(x), generator, numbers
    )
