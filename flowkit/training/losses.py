"""The losses of a training on their way from the device to the log."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

__all__ = ["Losses"]


class Losses:
    """Collects losses on the device, and fetches many at once: the one place that waits for the device.

    Arguments:
        accelerator: Of the processes, whose losses are averaged.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._on_device: list[Tensor] = []
        self.unlogged: list[float] = []

    def add(self, loss: Tensor) -> None:
        """Take in the mean loss of a step."""
        self._on_device.append(loss)

    def fetch(self) -> tuple[int, float] | None:
        """Fetch the losses since the last time. Of the first that is no number: how many steps ago it was, and its
        value; what comes after it is dropped. Every process must call it.
        """
        if not self._on_device:
            return None
        losses = self._accelerator.reduce(torch.stack(self._on_device).float(), "mean").tolist()
        self._on_device = []
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                return len(losses) - 1 - i, loss
        self.unlogged += losses
        return None

    def take(self) -> list[float]:
        """Those that were fetched and not logged, oldest first; they count as logged from now on."""
        taken, self.unlogged = self.unlogged, []
        return taken
