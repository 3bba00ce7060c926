"""A time grid that is learned from the model."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, Path, TimeGrid

from .grids import End, Start

__all__ = ["CurvatureGrid"]

_PILOT_STEPS = 128
_LEAST = 0.05
"""Of the mean curvature: where paths are straight, steps stay finite."""


class CurvatureGrid(TimeGrid):
    r"""Short steps where sample paths bend, as pilot trajectories of the model at hand show.

    The local error of a step h of a method of order p is about $h^{p+1} \kappa_t$. It is the same for all steps if
    their density is $\kappa_t^{1/(p+1)}$. The curvature is measured along trajectories of Euler's method, with
    $v_t = u_t(x_t)$, relative to the scale of the state, for an error at one scale becomes one at the next:

    $$\kappa_t = \frac{\sqrt{E|\dot v_t|^2}}{\sqrt{E|x_t|^2}}.$$

    The pilot costs 128 evaluations of the model, for 64 samples. Before it has seen a model the grid is uniform.

    Arguments:
        order: p, of the integrator. 2 serves Euler's method too, whose own 1 gains little more where it gains and loses
            more where it loses.
        start: The first time.
        end: The last time.

    References:
        De Boor 1973, Good approximation by splines with variable knots: the equidistribution of an error.
        https://doi.org/10.1007/978-3-0348-5979-0_3
    """

    def __init__(self, order: Annotated[float, Field(gt=0)] = 2.0, start: Start = 0.0, end: End = 1.0) -> None:
        if start >= end:
            raise ValueError(f"start must be less than end = {end}, got {start}")
        self.order, self.start, self.end = order, start, end
        self._edges = torch.tensor([start, end], dtype=torch.float64)
        self._share = torch.tensor([0.0, 1.0], dtype=torch.float64)  # of the steps before each edge

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """`steps + 1` times, float64."""
        share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        right = torch.searchsorted(self._share, share).clamp(1, len(self._share) - 1)
        left = right - 1
        within = (share - self._share[left]) / (self._share[right] - self._share[left])
        times = torch.lerp(self._edges[left], self._edges[right], within)
        times[0], times[-1] = self.start, self.end
        return times

    @torch.no_grad()
    def fitted(self, ode: Dynamics, x: Tensor) -> "CurvatureGrid":
        """The grid for this ODE, from trajectories that start at x."""
        edges = torch.linspace(self.start, self.end, _PILOT_STEPS + 1, dtype=torch.float64)
        h = (self.end - self.start) / _PILOT_STEPS
        middles = ((edges[1:] + edges[:-1]) / 2).tolist()  # a model may not be determined at the ends
        velocity, bends = ode.drift(x, middles[0]), []
        for middle in middles[1:]:
            x = x + h * velocity
            before, velocity = velocity, ode.drift(x, middle)
            bends.append(_size(velocity - before) / _size(x))
        curvature = torch.stack([bends[0], *bends, bends[-1]]).cpu()
        mean = curvature.mean()
        if not (bool(mean.isfinite()) and float(mean) > 0):
            return self  # straight paths need no other steps than equal ones
        density = (curvature + _LEAST * mean) ** (1 / (self.order + 1))
        share = torch.cat([torch.zeros(1, dtype=torch.float64), ((density[1:] + density[:-1]) / 2).cumsum(0)])
        grid = CurvatureGrid(self.order, self.start, self.end)
        grid._edges, grid._share = edges, share / share[-1]
        return grid


def _size(x: Tensor) -> Tensor:
    """The root mean square."""
    return x.double().square().mean().sqrt()
