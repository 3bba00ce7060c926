"""Equations whose solutions are known, and what an integrator under check can solve of them."""

import math

import torch
from torch import Tensor

from ..dynamics import ODE, SDE, Dynamics
from ..interfaces.integrator import Integrator
from ..interfaces.quantity import Quantity
from ..shapes import Time, expand_time
from .check import NotApplicable, Subject
from .reference import NormalField, ReferencePath, WavingDiffusion

__all__ = [
    "Pendulum",
    "Swing",
    "Wave",
    "dynamics_for",
    "even_times",
    "ode_problem",
    "on_reference_path",
    "solver_of_odes",
    "solver_of_sdes",
    "start_state",
]


class Pendulum(Dynamics):
    """dx/dt = x^2 cos t, which x(t) = 1 / (1 / x(0) - sin t) solves: it depends on time and is not linear."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """x^2 cos t."""
        self.evaluations += 1
        return x.square() * (math.cos(t) if isinstance(t, float | int) else expand_time(t.cos(), x))

    @staticmethod
    def flow(x: Tensor, t: float, s: float) -> Tensor:
        """The state at s from x at t."""
        return 1 / (1 / x + math.sin(t) - math.sin(s))


class Swing(Dynamics):
    """dx/dt = 20 x cos 20t, which x(t) = x(0) exp(sin 20t) solves: a step that is too long goes past a swing of it."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """20 x cos 20t."""
        self.evaluations += 1
        return 20 * x * (math.cos(20 * t) if isinstance(t, float | int) else expand_time((20 * t).cos(), x))

    @staticmethod
    def flow(x: Tensor, t: float, s: float) -> Tensor:
        """The state at s from x at t."""
        return x * math.exp(math.sin(20 * s) - math.sin(20 * t))


class Wave(Dynamics):
    """dX = (cos 3t - sin 2X) dt + (1 + sin(2t) / 2) dW: neither linear nor autonomous."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """At one time for all."""
        return math.cos(3 * float(t)) - torch.sin(2 * x)

    def diffusion(self, t: float) -> float:
        """Nowhere 0."""
        return 1 + math.sin(2 * t) / 2


def start_state() -> Tensor:
    """Three samples of two elements."""
    return torch.tensor([[0.5, -0.7], [0.2, 0.4], [-0.3, 0.6]], dtype=torch.float64)


def even_times(steps: int, start: float, end: float) -> Tensor:
    """Equal steps, float64 of shape (steps + 1,)."""
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def on_reference_path(subject: Subject) -> Integrator:
    """The integrator, if it goes with a Gaussian path."""
    integrator: Integrator = subject.component
    if problems := integrator.problems(ReferencePath()):
        raise NotApplicable(f"it does not go with a Gaussian path: {'; '.join(problems)}")
    return integrator


def solver_of_odes(subject: Subject) -> Integrator:
    """The integrator, if it draws nothing."""
    integrator = on_reference_path(subject)
    if integrator.stochastic:
        raise NotApplicable("it is stochastic")
    return integrator


def solver_of_sdes(subject: Subject) -> Integrator:
    """The integrator, if it is given a diffusion coefficient."""
    integrator = on_reference_path(subject)
    if not integrator.solves_sde():
        raise NotApplicable("it solves no SDE of a given diffusion coefficient")
    return integrator


def dynamics_for(integrator: Integrator, field: NormalField | None = None) -> Dynamics:
    """What it solves for data of one normal distribution."""
    field, path = field or NormalField(), ReferencePath()
    return SDE(field, WavingDiffusion(), path=path) if integrator.solves_sde() else ODE(field, path=path)


def ode_problem(integrator: Integrator, t: float, s: float) -> tuple[Dynamics, Tensor, Tensor]:
    """An ODE that the integrator solves, a start and the exact end: the pendulum where a drift is enough."""
    start = start_state()
    if integrator.needs == (Quantity.VELOCITY,):
        return Pendulum(), start, Pendulum.flow(start, t, s)
    return dynamics_for(integrator), start, NormalField().flow(start, t, s)
