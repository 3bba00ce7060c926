"""What the losses share: draw a time, go to x_t, compare."""

import torch
from torch import Tensor

from flowkit import Path, TimeSampler

__all__ = ["noised", "squared_error"]


def noised(
    path: Path, time: TimeSampler, x0: Tensor, z: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Times of shape (batch,) and the states x_t of the path at them."""
    t = time.sample(len(z), generator, z.device, z.dtype)
    return t, path.sample(x0, z, t, generator)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over the event of the squared difference, shape (batch,)."""
    return (prediction - target).square().flatten(1).mean(1)
