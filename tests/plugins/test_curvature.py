"""The grid that looks at the model."""

import functools

import pytest
import torch
from flowkit_ode.curvature import CurvatureGrid
from oracles import mixture, seeded

import flowkit as fk

SCHEDULES = ["condot", "cosine", "polynomial", "vp", "logit_linear", "ve", "edm"]
X0 = torch.randn(256, 2, generator=seeded(), dtype=torch.float64)


@functools.cache
def exact_flow(schedule):
    """The exact field of a mixture as an ODE, where it starts, and where it ends."""
    path = fk.create("path", "gaussian", schedule=schedule)
    ode, start = fk.ODE(mixture(schedule), path=path), path.start_scale(0.0) * X0
    return ode, start, fk.create("integrator", "dopri5", rtol=1e-8, atol=1e-8).integrate(ode, start, [0.0, 1.0])


@functools.cache
def error(schedule, integrator, steps, learned):
    """The root mean square of the end points' errors."""
    ode, start, exact = exact_flow(schedule)
    grid = CurvatureGrid().fitted(ode, start) if learned else CurvatureGrid()
    end = fk.create("integrator", integrator).integrate(ode, start, grid.times(steps))
    return (end - exact).square().mean().sqrt()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_costs_little_where_steps_are_well_laid_already(schedule):
    for integrator in ("euler", "heun"):
        assert error(schedule, integrator, 10, True) < 1.15 * error(schedule, integrator, 10, False)


@pytest.mark.parametrize("schedule", ["vp", "logit_linear", "ve", "edm"])
def test_it_takes_a_third_of_the_error_and_more_where_paths_bend_unevenly(schedule):
    assert error(schedule, "heun", 10, True) < 2 / 3 * error(schedule, "heun", 10, False)


def test_every_step_makes_about_the_same_error():
    """For x' = -a'(t) x with a known bend: the error of a step of Euler's method is h^2 / 2 |x''| relative to x."""

    class Bend(fk.Dynamics):
        def drift(self, x, t):
            return x * 20 * (t > 0.5) * (t - 0.5)  # straight, then bending

    grid = CurvatureGrid(order=1).fitted(Bend(), torch.ones(4, 1, dtype=torch.float64))
    times = grid.times(10)
    x = torch.exp(10 * (times - 0.5).clamp(min=0) ** 2)  # the solution
    exact = x[1:] / x[:-1]
    step = 1 + times.diff() * 20 * (times[:-1] - 0.5).clamp(min=0)
    errors = (exact - step)[times[:-1] > 0.55]
    assert len(errors) >= 6  # of 10 steps, in 45% of the time
    assert errors.max() < 2.5 * errors.min()  # equal steps: more than 5 times


def test_the_samples_of_a_pipeline_do_not_depend_on_how_many_are_drawn(tiny, tmp_path):
    pipeline = tiny.sampling("heun", steps=3, grid="curvature").build().fit(tmp_path / "run")
    x = pipeline.sample(300, seed=1)
    torch.testing.assert_close(x[:10], pipeline.sample(10, seed=1))  # to rounding
    assert not torch.equal(x, pipeline.sample(300, seed=1, grid="uniform"))
    again = fk.Pipeline.load(tmp_path / "run")
    assert torch.equal(again.sample(300, seed=1), x)
    assert again.config["sampling"]["grid"]["name"] == "curvature"


class Remembering(torch.nn.Module):
    """A field of bent paths that knows at which times it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t, y=None):
        self.asked.append(float(t[0]))
        return self.scale * (8 * t[:, None]).cos() * x


def test_the_times_of_a_pipeline_are_those_of_its_states(tiny):
    network = Remembering()
    pipeline = tiny.network(network).sampling("euler", steps=4, grid="curvature").build()
    for steps in (4, 6):
        pipeline.trajectory(3, steps=steps)
        times = pipeline.times(steps=steps)
        network.asked.clear()
        pipeline.trajectory(3, steps=steps)
        assert network.asked[-steps:] == pytest.approx(times[:-1], abs=2**-24)  # Euler asks where a step begins
        assert times[-1] == 1
        assert times != pytest.approx(torch.linspace(0, 1, steps + 1).tolist(), abs=1e-3)


def test_the_pilots_are_counted_in_the_cost_of_the_call_that_sends_them(tiny):
    calls = []

    class Counted(Noise):
        def forward(self, x, t, y=None):
            calls.append(len(x))
            return super().forward(x, t, y)

    pipeline = tiny.network(Counted()).sampling("euler", steps=8, grid="curvature").build()
    ways = [
        lambda cost: pipeline.sample(300, cost=cost, batch_size=200),
        lambda cost: pipeline.encode(X0[:3], cost=cost),
    ]
    for way, batches in zip(ways, (2, 1), strict=True):
        calls.clear()
        way(cost := fk.Cost())
        assert (cost.evaluations, cost.batches) == (len(calls), batches)
        assert len(calls) == 128 + 8 * batches


def test_straight_paths_keep_equal_steps():
    class Straight(fk.Dynamics):
        def drift(self, x, t):
            return torch.ones_like(x)

    times = CurvatureGrid(start=0.1).fitted(Straight(), X0).times(5)
    assert torch.allclose(times, torch.linspace(0.1, 1, 6, dtype=torch.float64))


def test_a_model_that_is_not_determined_at_the_ends_can_be_looked_at():
    path = fk.create("path", "gaussian", schedule="condot")
    model = fk.Model(Noise(), fk.create("head", "noise"), path)
    grid = CurvatureGrid(start=0.01, end=0.99).fitted(fk.ODE(model, path=path), X0.float())
    assert (grid.times(20).diff() > 0).all()


class Noise(torch.nn.Module):
    def forward(self, x, t, y=None):
        return x / (1 + t[:, None])
