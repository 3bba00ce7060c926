r"""The density of what the ODE samples, by the instantaneous change of variables."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .conditions import Condition
from .divergence import Divergence, ExactDivergence
from .dynamics import ODE, Dynamics
from .errors import UnsupportedError, require_object
from .interfaces.integrator import Integrator
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.quantity import Quantity
from .interfaces.source import Source
from .random import Generator
from .shapes import Time

__all__ = ["LogProb", "bits_per_dim", "estimate_log_prob", "log_prob"]


class LogProb(NamedTuple):
    """Log densities and how far they may be off."""

    value: Tensor
    """Nats, shape (batch,)."""

    standard_error: Tensor
    """That of the estimated divergence, shape (batch,): 0 if it is exact, NaN from one probe. The error of the
    integrator comes on top."""


def log_prob(
    model: Predictor,
    x: Tensor,
    y: Condition = None,
    *,
    source: Source,
    integrator: Integrator,
    times: Sequence[float] | Tensor,
    path: Path | None = None,
    divergence: Divergence | None = None,
    generator: Generator | None = None,
    gradients: bool = False,
) -> Tensor:
    r"""$\log p_1(x) = \log p_{init}(x_0) - \int_0^1 \nabla\cdot u_t(x_t)\,dt$ along the ODE through x.

    Arguments:
        model: Gives the velocity.
        x: Where, shape (batch, *event).
        y: Conditions.
        source: The density at t = 0, scaled by `Path.start_scale` to that at a first time after it.
        integrator: An ODE method.
        times: The grid, rising; it is gone through backwards.
        path: Which path the model is of; by default the model's own, if it has one.
        divergence: How the divergence is found; by default exactly, at the price of one backward pass for every
            dimension of the event.
        generator: The source of the noise of a `divergence` that is estimated, which is drawn once for all times.
        gradients: Whether the result can be differentiated, with respect to x and the weights.

    Returns:
        Nats, shape (batch,).

    Raises:
        UnsupportedError: The integrator solves SDEs, asks for more than the velocity or takes the state for more than a
            vector, the times do not rise, or the source has no density.

    References:
        Chen et al. 2018, Neural Ordinary Differential Equations, theorem 1. https://arxiv.org/abs/1806.07366
    """
    return estimate_log_prob(
        model,
        x,
        y,
        source=source,
        integrator=integrator,
        times=times,
        path=path,
        divergence=divergence,
        generator=generator,
        gradients=gradients,
    ).value


def estimate_log_prob(
    model: Predictor,
    x: Tensor,
    y: Condition = None,
    *,
    source: Source,
    integrator: Integrator,
    times: Sequence[float] | Tensor,
    path: Path | None = None,
    divergence: Divergence | None = None,
    generator: Generator | None = None,
    gradients: bool = False,
) -> LogProb:
    """Like `log_prob`, with the standard error of an estimated divergence."""
    require_object("source", source, Source)
    _check_integrator(integrator)
    found = path or getattr(model, "path", None)
    grid = _rising(times)
    scale = found.start_scale(grid[0]) if isinstance(found, Path) else 1.0
    if isinstance(found, Path) and found.start_noise(0.0):
        raise UnsupportedError(
            f"{type(found).__name__} adds noise of its own to the source, and the density of the sum is not known: "
            "choose a gamma that is 0 at t = 0"
        )
    divergence = divergence or ExactDivergence()
    flat = x.flatten(1)
    noise = divergence.draw(flat, generator)
    dynamics = _WithDivergence(ODE(model, y=y), x.shape, divergence, noise, gradients)
    with torch.set_grad_enabled(gradients):
        state = torch.cat([flat, flat.new_zeros(len(flat), divergence.estimates)], dim=1)
        _check_carries_vectors(integrator, state.shape[1], (grid[-1], grid[0]))
        state = integrator.integrate(dynamics, state, grid[::-1])
        # Backwards, the last columns have become minus the integral from 0 to 1.
        x0, integrals = state[:, : flat.shape[1]], state[:, flat.shape[1] :]
        start = source.log_prob(x0.reshape(x.shape) / scale) - x[0].numel() * math.log(scale)
        return LogProb(start + integrals.mean(1), _standard_error(integrals.detach(), divergence))


def bits_per_dim(log_prob: Tensor, event_shape: Sequence[int], spacing: float = 1.0) -> Tensor:
    r"""$-(\log p(x)/d + \log\Delta) / \log 2$, the code length of data that take values in steps of $\Delta$.

    The probability of a value is the density of the data with uniform noise on [0, Delta) added, integrated over the
    step; `log_prob` must be of such dequantised data for this to bound a code length (Theis et al.).

    Arguments:
        log_prob: Nats.
        event_shape: The shape of one data point.
        spacing: Delta in the units of `log_prob`: 1 for pixels 0...255, 1/256 if they were divided by 256, 1/127.5 if
            255 became the range from -1 to 1.

    References:
        Theis et al. 2016, A note on the evaluation of generative models, section 3.1. https://arxiv.org/abs/1511.01844
    """
    return -(log_prob / math.prod(event_shape) + math.log(spacing)) / math.log(2)


def _check_integrator(integrator: Integrator) -> None:
    require_object("integrator", integrator, Integrator)
    name = type(integrator).__name__
    if integrator.stochastic:
        raise UnsupportedError(f"{name} draws noise, and a likelihood follows the ODE: choose an ODE integrator")
    if needed := [quantity.value for quantity in integrator.needs if quantity is not Quantity.VELOCITY]:
        raise UnsupportedError(
            f"{name} needs the {' and the '.join(needed)}, and a likelihood follows the velocity and its divergence: "
            "choose an integrator that needs the velocity alone, such as a Runge-Kutta method"
        )


def _check_carries_vectors(integrator: Integrator, size: int, step: Sequence[float]) -> None:
    """Refuse an integrator that does more to a state than follow the drift, such as keep it on a sphere: the state here
    is the event with more columns, and what became of these would be no integral. A step with a constant drift tells,
    from a state that lies far out, where spheres, boxes and periods are left.
    """
    start = torch.linspace(-10, 20, size, dtype=torch.float64)[None]
    with torch.no_grad():
        end = integrator.integrate(_Steady(), start, step)
    if not torch.allclose(end, start + step[1] - step[0], atol=1e-6):
        raise UnsupportedError(
            f"{type(integrator).__name__} does more to a state than follow the drift, and a likelihood integrates the "
            "divergence in columns beside the state: choose an integrator of vectors, such as a Runge-Kutta method"
        )


def _rising(times: Sequence[float] | Tensor) -> list[float]:
    """The times as numbers, where they go from the source to the data."""
    grid: list[float] = torch.as_tensor(times, dtype=torch.float64).tolist()
    if len(grid) < 2 or grid != sorted(grid) or grid[0] == grid[-1]:
        ends = f"{len(grid)} from {grid[0]:g} to {grid[-1]:g}" if grid else "none"
        raise UnsupportedError(f"times must rise, from the source to the data; got {ends}")
    return grid


def _standard_error(integrals: Tensor, divergence: Divergence) -> Tensor:
    """Of their mean, shape (batch,)."""
    if isinstance(divergence, ExactDivergence):
        return torch.zeros_like(integrals[:, 0])
    if integrals.shape[1] == 1:
        return torch.full_like(integrals[:, 0], math.nan)
    return integrals.std(1) / math.sqrt(integrals.shape[1])


class _Steady(Dynamics):
    """dX = dt."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        del t
        return torch.ones_like(x)


class _WithDivergence(Dynamics):
    """The ODE of the flattened state with more columns, whose time derivatives are estimates of the divergence."""

    def __init__(
        self, dynamics: Dynamics, shape: torch.Size, divergence: Divergence, noise: Tensor | None, gradients: bool
    ) -> None:
        self.dynamics, self.shape, self.gradients = dynamics, shape, gradients
        self.divergence, self.noise = divergence, noise

    def drift(self, x: Tensor, t: Time) -> Tensor:
        state = x[:, : -self.divergence.estimates]
        with torch.enable_grad():
            if not (self.gradients and state.requires_grad):
                state = state.detach().requires_grad_()
            velocity = self.dynamics.drift(state.reshape(self.shape), t).flatten(1)

            def product(v: Tensor) -> Tensor:
                if not velocity.requires_grad:  # a field of t alone
                    return torch.zeros_like(state)
                (row,) = torch.autograd.grad(
                    velocity, state, v, retain_graph=True, create_graph=self.gradients, materialize_grads=True
                )
                return row

            trace = self.divergence.trace(product, self.noise, state)
        drift = torch.cat([velocity, trace], dim=1)
        return drift if self.gradients else drift.detach()
