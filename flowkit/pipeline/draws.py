"""The samples of one seed: sample i is the same in whatever batch it is drawn."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..conditions import Condition, select_condition, to_device
from ..errors import FlowkitWarning
from ..interfaces.data import Normalization
from ..interfaces.path import Path
from ..interfaces.source import Source
from ..model import Model
from ..random import BlockGenerator
from ..sampling import Cost, Sampler

__all__ = ["Draws", "NotFinite"]


class NotFinite:
    """Counts samples that hold an infinity or no number, of which a file or a tensor says nothing by itself."""

    def __init__(self) -> None:
        self.seen = self.bad = 0

    def look(self, x: Tensor) -> Tensor:
        """Take in some samples, shape (n, *event); returns them."""
        self.seen += len(x)
        if not bool(x.isfinite().all()):
            self.bad += int((~x.flatten(1).isfinite().all(1)).sum())
        return x

    def warn(self) -> None:
        """Warn of them, if there are any."""
        if self.bad:
            text = f"{self.bad} of {self.seen} samples are not finite: more steps, another grid or integrator may do"
            warnings.warn(text, FlowkitWarning, stacklevel=3)


@dataclass(frozen=True)
class Draws:
    """What decides samples, whichever of them are wanted.

    Arguments:
        sampler: How they are drawn.
        model: From what.
        path: The path of the model.
        source: Where x0 comes from.
        normalization: The units of the data.
        y: The labels of all of them, or None.
        seed: The seed.
        cost: Has what is done added to it.
        x0: Where they come from; by default draws of the source.
    """

    sampler: Sampler
    model: Model
    path: Path
    source: Source
    normalization: Normalization
    y: Tensor | None
    seed: int
    cost: Cost | None = None
    x0: Tensor | None = None

    def batch(self, start: int, count: int) -> Tensor:
        """The samples from an index on, in the units of the data, shape (count, *event), on the CPU."""
        x0, y, generator = self._given(start, count)
        return self._finished(self.sampler.sample(self.model, self.path, x0, y, generator, self.cost))

    def states(self, start: int, count: int) -> Iterator[Tensor]:
        """Their states at all times of the grid."""
        x0, y, generator = self._given(start, count)
        return map(self._finished, self.sampler.trajectory(self.model, self.path, x0, y, generator))

    def _given(self, start: int, count: int) -> tuple[Tensor, Condition, BlockGenerator]:
        mean = self.model.data_mean
        generator = BlockGenerator(self.seed, start, count, mean.device)
        if self.x0 is None:
            x0 = generator.draw(
                lambda n, g: self.source.sample(n, tuple(mean.shape), g, mean.device, self.model.dtype), mean.numel()
            )
        else:
            x0 = self.x0[start : start + count].to(mean.device, self.model.dtype)
        y = to_device(select_condition(self.y, slice(start, start + count)), mean.device)
        return x0, y, generator

    def _finished(self, x: Tensor) -> Tensor:
        return self.normalization.denormalize(x).cpu()
