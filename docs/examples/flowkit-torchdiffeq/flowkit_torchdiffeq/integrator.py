"""The fixed-step methods of torchdiffeq."""

from typing import Literal

import torch
from torch import Tensor
from torchdiffeq import odeint

from flowkit import Dynamics, Generator, Integrator

__all__ = ["Torchdiffeq"]

ORDERS = {"euler": 1.0, "midpoint": 2.0, "heun3": 3.0, "rk4": 4.0}
"""The global error of each method falls with this power of the length of the steps."""


class Torchdiffeq(Integrator):
    """`torchdiffeq.odeint` with a fixed-step method, a step of it for each of flowkit's.

    Arguments:
        method: Its name there. `rk4` is the 3/8 rule of Kutta, not the classical method.

    References:
        Chen 2018, torchdiffeq. https://github.com/rtqichen/torchdiffeq
    """

    def __init__(self, method: Literal["euler", "midpoint", "heun3", "rk4"] = "rk4") -> None:
        self.method = method
        self.order = ORDERS[method]
        self.evaluates_end = method == "rk4"

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step of the method from t to s. The dynamics count its evaluations."""
        del generator
        times = torch.tensor([t, s], dtype=torch.float64, device=x.device)
        return odeint(lambda t, x: dynamics.drift(x, t.expand(len(x))), x, times, method=self.method)[-1]
