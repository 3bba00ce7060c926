"""Euler's method."""

import torch
from torch import Tensor

from flowkit import Dynamics, Generator, Integrator

__all__ = ["Euler"]


class Euler(Integrator):
    """x_s = x_t + h u_t(x_t)."""

    order = 1

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step, one evaluation."""
        return torch.add(x, dynamics.drift(x, t), alpha=s - t)
