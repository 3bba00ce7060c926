"""The gradient of the mean loss of a batch: all of it at once, or piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from ..conditions import Condition, select_condition
from ..interfaces.loss import Loss
from ..model import Model
from ..random import ShareGenerator
from .distributed import average_gradients

if TYPE_CHECKING:
    from .sharding import Sharding

__all__ = ["Gradient"]


class Gradient:
    """Leaves the gradient of the mean loss in the weights, the same in every process.

    Arguments:
        model: What is trained.
        loss: What it regresses.
        generator: What the loss draws from.
        pieces: How many a batch is cut into.
        accelerator: Of the processes.
        backward: Takes the gradient of a number.
        apart: Weights that the accelerator does not look after.
        sharding: Cuts the network over the processes, if it is cut.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        generator: ShareGenerator,
        pieces: int,
        accelerator: Accelerator,
        backward: Callable[[Tensor], None],
        apart: Sequence[Tensor],
        sharding: "Sharding | None",
    ) -> None:
        self.model, self.loss, self.generator, self.pieces = model, loss, generator, pieces
        self.accelerator, self.backward, self.apart, self.sharding = accelerator, backward, apart, sharding

    def __call__(self, x0: Tensor, z: Tensor, y: Condition) -> Tensor:
        """The mean loss of this process, on the device."""
        with nullcontext() if self.sharding is None else self.sharding.step():
            if self.pieces == 1:
                loss = self.loss(self.model, x0, z, y, self.generator).mean()
                self.backward(loss)
            else:
                loss = torch.stack(list(self._in_pieces(x0, z, y))).sum()
        if self.apart:
            average_gradients(self.apart, self.accelerator)
        return loss.detach()

    def _in_pieces(self, x0: Tensor, z: Tensor, y: Condition) -> Iterator[Tensor]:
        for piece in self.generator.pieces():
            part, is_last = slice(piece.start, piece.stop), piece.stop == len(z)
            with nullcontext() if is_last else self.accelerator.no_sync(self.model.network):
                losses = self.loss(self.model, x0[part], z[part], select_condition(y, part), self.generator)
                loss = losses.mean() / self.pieces
                self.backward(loss)
            yield loss.detach()
