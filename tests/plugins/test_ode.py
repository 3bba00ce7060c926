"""The ODE integrators of fixed steps: order of convergence, evaluations, end points."""

import math
from itertools import pairwise

import pytest
import torch
import torchdiffeq
from flowkit_ode.adams_bashforth import AdamsBashforth
from flowkit_ode.euler import Euler
from flowkit_ode.grids import UniformGrid
from flowkit_ode.heun import Heun
from flowkit_ode.midpoint import Midpoint
from flowkit_ode.ralston import Ralston
from flowkit_ode.rk4 import RK4
from flowkit_ode.runge_kutta import RungeKutta, Tableau
from oracles import SCHEDULES, GaussianMixture, mixture, seeded

from flowkit import ODE, Dynamics

# The integrator, its order, evaluations a step, and where in a step from 0 to 1 they are, as its docstring says.
INTEGRATORS = {
    "euler": (Euler(), 1, [0.0]),
    "midpoint": (Midpoint(), 2, [0.0, 0.5]),
    "heun": (Heun(), 2, [0.0, 1.0]),
    "ralston": (Ralston(), 2, [0.0, 2 / 3]),
    "rk4": (RK4(), 4, [0.0, 0.5, 0.5, 1.0]),
}
every_integrator = pytest.mark.parametrize("name", INTEGRATORS)
every_order = pytest.mark.parametrize("order", [2, 3, 4])


class Pendulum(Dynamics):
    """dx/dt = x^2 cos t, which x(t) = 1 / (1 / x(0) - sin t) solves: it depends on time and is not linear."""

    def __init__(self):
        self.seen = []

    def drift(self, x, t):
        self.seen.append(t)
        return x.square() * math.cos(t)

    @staticmethod
    def solution(x0, t):
        return 1 / (1 / x0 - math.sin(t))


def times(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def slopes(error_of, steps):
    """The order seen between one number of steps and twice as many."""
    errors = [error_of(n) for n in steps]
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


@every_integrator
@pytest.mark.parametrize("backwards", [False, True])
def test_the_error_falls_with_the_order_of_the_method(name, backwards):
    """Steps from 40 to 320: the next term of the error is a few h below the leading one, and rounding far away."""
    integrator, order, _ = INTEGRATORS[name]
    start = torch.tensor([0.5, -0.7, 0.2], dtype=torch.float64)
    end = Pendulum.solution(start, 1.0)
    x, exact = (end, start) if backwards else (start, end)

    def error(steps):
        grid = times(steps).tolist()
        found = integrator.integrate(Pendulum(), x, grid[::-1] if backwards else grid)
        return float((found - exact).abs().max())

    assert slopes(error, [40, 80, 160, 320]) == pytest.approx([order] * 3, abs=0.2)
    assert integrator.order == order


@every_integrator
@pytest.mark.parametrize("schedule", ["condot", "cosine"])
def test_the_ode_of_one_gaussian_carries_noise_along_its_exact_map(name, schedule):
    """For data N(m, s^2 I) the flow is x_t = alpha m + sqrt(alpha^2 s^2 + beta^2) x_0.

    Halving the step divides an error e of order p by 2^p, so the two results are (2^p - 1) e / 2^p >= e / 2^p apart:
    the finer one is no further from the truth than from the coarser one (here within a tenth, for the higher terms).
    """
    integrator = INTEGRATORS[name][0]
    oracle = GaussianMixture([[1.0, -2.0]], [0.4], [1.0], schedule)
    x0 = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    alpha, beta_squared = (function(torch.tensor(0.8, dtype=torch.float64)) for function in SCHEDULES[schedule])
    exact = alpha * oracle.means[0] + torch.sqrt(alpha**2 * 0.4**2 + beta_squared) * x0
    coarse, fine = (integrator.integrate(ODE(oracle), x0, times(steps, end=0.8)) for steps in (40, 80))
    assert (fine - exact).norm() < 1.1 * (fine - coarse).norm() < 0.1


@every_integrator
def test_a_step_evaluates_as_often_and_where_it_says(name):
    integrator, _, where = INTEGRATORS[name]
    dynamics = Pendulum()
    integrator.step(dynamics, torch.ones(1, dtype=torch.float64), 0.25, 0.75)
    assert dynamics.seen == pytest.approx([0.25 + 0.5 * fraction for fraction in where], rel=1e-15)
    assert integrator.evaluates_end == (1.0 in where)
    assert not integrator.stochastic


@every_integrator
@pytest.mark.parametrize("steps", [1, 3, 7, 50])
def test_sampling_ends_at_1_exactly_and_never_looks_beyond(name, steps):
    integrator, _, where = INTEGRATORS[name]
    dynamics = Pendulum()
    integrator.integrate(dynamics, torch.zeros(1, dtype=torch.float64), UniformGrid().times(steps))
    assert len(dynamics.seen) == steps * len(where)
    assert min(dynamics.seen) == 0
    assert max(dynamics.seen) <= 1
    assert (max(dynamics.seen) == 1) == integrator.evaluates_end


@every_integrator
def test_the_last_step_is_as_long_as_the_others(name):
    """dx/dt = 1 is solved exactly by all of them: x(1) = x(0) + 1 whatever the grid."""

    class Clock(Dynamics):
        def drift(self, x, t):
            return torch.ones_like(x)

    integrator = INTEGRATORS[name][0]
    for grid in (times(7), [0.0, 0.1, 0.15, 0.8, 1.0], [0.0, 1.0]):
        found = integrator.integrate(Clock(), torch.tensor([0.5], dtype=torch.float64), grid)
        assert found.item() == pytest.approx(1.5, abs=1e-14)


@every_integrator
def test_there_and_back_is_where_it_began(name):
    """Each way errs by at most C h^order; with 200 steps and C below 10 that is the bound here."""
    integrator, order, _ = INTEGRATORS[name]
    x, grid = torch.tensor([0.5], dtype=torch.float64), times(200).tolist()
    there = integrator.integrate(Pendulum(), x, grid)
    back = integrator.integrate(Pendulum(), there, grid[::-1])
    assert abs(float(back - x)) < 10 / 200**order
    assert abs(float(there - x)) > 0.1


class ThreeEighths(RungeKutta):
    """Kutta's other method, which torchdiffeq calls rk4."""

    order, evaluates_end = 4, True
    tableau = Tableau(c=(0, 1 / 3, 2 / 3, 1), a=((1 / 3,), (-1 / 3, 1), (1, -1, 1)), b=(1 / 8, 3 / 8, 3 / 8, 1 / 8))


@pytest.mark.parametrize(
    ("integrator", "theirs"),
    [(Euler(), "euler"), (Midpoint(), "midpoint"), (ThreeEighths(), "rk4")],
)
def test_the_states_are_those_of_torchdiffeq(integrator, theirs):
    """To rounding: the methods are the same."""
    oracle, x0 = mixture(), torch.randn(10, 2, generator=seeded(), dtype=torch.float64)
    expected = torchdiffeq.odeint(lambda t, x: oracle.velocity(x, float(t)), x0, times(10), method=theirs)
    found = torch.stack(list(integrator.trajectory(ODE(oracle), x0, times(10))))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


# Adams-Bashforth.


def alternating(steps):
    """Steps of 1.4 and 0.6 of the mean length in turn."""
    grid = times(steps)
    grid[1:-1] += 0.2 / steps * (-1) ** torch.arange(steps - 1)
    return grid


@every_order
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    "grid", [times, alternating, lambda n: (3 * times(n) + times(n) ** 2) / 4], ids=["equal", "alternating", "growing"]
)
def test_a_multistep_method_has_its_order_on_steps_of_any_lengths(order, backwards, grid):
    """Steps from 160 to 640."""
    start = torch.tensor([0.5, -0.7, 0.2], dtype=torch.float64)
    end = Pendulum.solution(start, 1.0)
    x, exact = (end, start) if backwards else (start, end)

    def error(steps):
        points = grid(steps).tolist()
        found = AdamsBashforth(order).integrate(Pendulum(), x, points[::-1] if backwards else points)
        return float((found - exact).abs().max())

    assert slopes(error, [160, 320, 640]) == pytest.approx([order] * 2, abs=0.2)
    assert AdamsBashforth(order).order == order


@every_order
def test_a_multistep_method_is_exact_where_the_slope_is_a_polynomial_it_can_see(order):
    """dx/dt = t^(order - 1) on uneven steps, but t^2 for order 4: the starting formula is of order 3."""

    class Power(Dynamics):
        def drift(self, x, t):
            return torch.full_like(x, t ** min(order - 1, 2))

    grid = [0.0, 0.1, 0.15, 0.35, 0.5, 0.9, 1.0]
    found = AdamsBashforth(order).integrate(Power(), torch.zeros(1, dtype=torch.float64), grid)
    assert found.item() == pytest.approx(1 / min(order, 3), abs=1e-13)


def test_the_second_order_by_hand():
    """x + h (3/2 k_n - 1/2 k_{n-1}), the weights of equal steps."""
    x = torch.tensor([0.5], dtype=torch.float64)
    _, one, two = AdamsBashforth(2).trajectory(Pendulum(), x, [0.0, 0.1, 0.2])
    expected = one + 0.1 * (1.5 * Pendulum().drift(one, 0.1) - 0.5 * Pendulum().drift(x, 0.0))
    torch.testing.assert_close(two, expected, rtol=1e-14, atol=0)


@every_order
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 20])
def test_a_multistep_method_evaluates_once_a_step_and_never_at_the_end(order, steps):
    """Three times in each of the first order - 1 steps, of which there may be fewer."""
    dynamics = Pendulum()
    states = list(AdamsBashforth(order).trajectory(dynamics, torch.zeros(1, dtype=torch.float64), times(steps)))
    assert len(states) == steps + 1
    assert len(dynamics.seen) == steps + 2 * min(order - 1, steps)
    assert max(dynamics.seen) < 1
    assert not AdamsBashforth(order).evaluates_end


# Gradients.


@pytest.mark.parametrize("name", [*INTEGRATORS, "adams_bashforth"])
def test_gradients_go_through_the_steps(name):
    """gradcheck compares them with finite differences, also those of the drift's own parameters."""
    integrator = AdamsBashforth(3) if name == "adams_bashforth" else INTEGRATORS[name][0]

    class Scaled(Dynamics):
        def __init__(self, scale):
            self.scale = scale

        def drift(self, x, t):
            return self.scale * x.square() * math.cos(t)

    x = torch.tensor([0.5, -0.7], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.9, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, scale: integrator.integrate(Scaled(scale), x, times(5)), (x, scale))
