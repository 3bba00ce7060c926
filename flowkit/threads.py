"""How many CPU threads a network is worth.

A layer of a small network takes microseconds, and threads that share it wait for one another after every operation. On
a busy machine that wait is a time slice of the scheduler: with one of two cores taken, a step of the recipe `moons` was
seen to take 84 ms on two threads and 4 ms on one. On an idle machine two threads save a third of the time at best.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .model import Model

__all__ = ["suitable_threads"]

WORTH_SHARING = 10**6
"""Multiplications for one data point from which on threads pay."""


@contextmanager
def suitable_threads(model: Model) -> Iterator[None]:
    """One thread for a small network on the CPU, where `OMP_NUM_THREADS` does not say how many."""
    device, event_shape = model.data_mean.device, model.data_mean.shape
    # Every weight is used once for each position of an image, and once for a vector.
    work = sum(parameter.numel() for parameter in model.network.parameters()) * math.prod(event_shape[1:])
    before = torch.get_num_threads()
    if device.type != "cpu" or work >= WORTH_SHARING or "OMP_NUM_THREADS" in os.environ or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
