"""Random numbers that belong to samples, not to batches.

Sample i of a seed must be the same whatever the batch it is computed in. So samples are dealt out in blocks
of 256, every block has its own stream derived from (seed, block), and a block is always drawn whole.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["BLOCK", "BlockGenerator", "Generator", "derive_seed", "randn_like"]

BLOCK = 256


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from integers of 64 bits, well mixed: other parts, or another number of them, another stream."""
    # SeedSequence takes words of 32 bits and ignores zeros at the end, so all words and their number are written out.
    words = [len(parts), *(word for part in parts for word in divmod(part, 2**32))]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


class BlockGenerator:
    """One random stream a block of samples.

    Arguments:
        seed: The seed of the whole set of samples.
        start: The index of the first sample, a multiple of `BLOCK`.
        count: How many samples.
        device: Where the numbers are drawn.
    """

    def __init__(self, seed: int, start: int, count: int, device: torch.device | str = "cpu") -> None:
        if start % BLOCK:
            raise ValueError(f"start must be a multiple of {BLOCK}, got {start}")
        self.count = count
        first, last = start // BLOCK, -(-(start + count) // BLOCK)
        self.generators = [
            torch.Generator(device).manual_seed(derive_seed(seed, block)) for block in range(first, last)
        ]

    def draw(self, function: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """`function(BLOCK, generator)` for every block, cut to the samples there are."""
        blocks = [function(BLOCK, generator) for generator in self.generators]
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks))[: self.count]


Generator = torch.Generator | BlockGenerator
"""What an integrator is given to draw from."""


def randn_like(x: Tensor, generator: Generator | None = None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of x, from either kind of generator."""
    if isinstance(generator, BlockGenerator):
        return generator.draw(lambda n, g: torch.randn((n, *x.shape[1:]), generator=g, dtype=x.dtype, device=x.device))
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
