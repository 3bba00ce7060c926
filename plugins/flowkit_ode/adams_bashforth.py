"""The methods of Adams and Bashforth."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, Generator, Integrator

from .bosh3 import Bosh3
from .runge_kutta import advance

__all__ = ["AdamsBashforth"]


class AdamsBashforth(Integrator):
    r"""$x_{n+1} = x_n + \int_{t_n}^{t_{n+1}} P(\tau)\,d\tau$ with the polynomial P through the last `order` slopes.

    One evaluation a step, whatever the order, never at the end; steps of any lengths. The first `order` - 1 steps,
    which lack a history, are those of the third-order formula of Bogacki and Shampine, three evaluations each: they are
    too few for their fourth-order local error to lower the order.

    Arguments:
        order: How many slopes are used; higher orders need shorter steps to be stable.

    References:
        Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, section III.5 (variable steps).
        Zhang and Chen 2023, Fast Sampling of Diffusion Models with Exponential Integrator (rhoAB-DEIS).
        https://arxiv.org/abs/2204.13902
    """

    def __init__(self, order: Annotated[int, Field(ge=2, le=4)] = 2) -> None:
        self.order = order

    def step(self, dynamics: Dynamics, x: Tensor, t: float, s: float, generator: Generator | None = None) -> Tensor:
        """One step without history, three evaluations."""
        return _start.step(dynamics, x, t, s)

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """The states at `times`, the first being x itself."""
        points = torch.as_tensor(times, dtype=torch.float64)
        yield x
        history: deque[Tensor] = deque(maxlen=int(self.order))
        without = int(self.order) - 1
        for t, s in pairwise(points[: without + 1].tolist()):
            slopes = _start.slopes(dynamics, x, t, s)
            history.append(slopes[0])
            x = advance(x, s - t, _start.tableau.b, slopes)
            yield x
        steps = zip(pairwise(points[without:].tolist()), _weights(points, int(self.order)), strict=True)
        for (t, s), weights in steps:
            history.append(dynamics.drift(x, t))
            x = advance(x, s - t, weights, history)
            yield x


_start = Bosh3()


def _weights(points: Tensor, order: int) -> list[list[float]]:
    r"""For every step with a history, w_i such that $\int P = h \sum_i w_i k_i$, oldest slope first.

    In the unit u = (tau - t_n) / h the slopes are at u_i <= 0, and the integral of u^m over [0, 1] is
    sum_i w_i u_i^m = 1 / (m + 1) for m < order.
    """
    nodes = points[:-1].unfold(0, order, 1) if len(points) > order else points.new_zeros(0, order)
    nodes = (nodes - nodes[:, -1:]) / points.diff()[order - 1 :, None]
    powers = torch.arange(order, dtype=torch.float64)
    moments = nodes[:, None, :] ** powers[:, None]
    return torch.linalg.solve(moments, (1 / (powers + 1)).expand(len(nodes), order)).tolist()
