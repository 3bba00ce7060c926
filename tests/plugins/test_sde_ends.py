"""Where SDE integrators are delicate: the step to the data, both ends in low precision, seeds, batches, refusals."""

import pytest
import torch
from brownian import Replay
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.heads import DataHead, VelocityHead
from flowkit_ode.heun import Heun
from flowkit_sde.coefficients import BetaDiffusion, ConstantDiffusion, SBDMDiffusion
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.dpmpp_sde import DPMppSDE
from flowkit_sde.edm_churn import EDMChurn
from flowkit_sde.euler_maruyama import EulerMaruyama
from flowkit_sde.predictor_corrector import PredictorCorrector
from flowkit_sde.srk import SRK
from flowkit_sde.stochastic_heun import StochasticHeun
from oracles import GaussianMixture, mixture, seeded

from flowkit import ODE, Dynamics, Model, Path, Quantity, Sampler, UnsupportedError

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
SOLVERS = {"euler_maruyama": EulerMaruyama, "stochastic_heun": StochasticHeun, "srk": SRK}
SAMPLERS = {
    "ddpm_ancestral": DDPMAncestral,
    "dpmpp_sde": DPMppSDE,
    "edm_churn": EDMChurn,
    "predictor_corrector": PredictorCorrector,
}
every_solver = pytest.mark.parametrize("name", SOLVERS)
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_integrator = pytest.mark.parametrize("name", [*SOLVERS, *SAMPLERS])


def times(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def states(n=5):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


def problem(name, schedule="condot", diffusion=None, model=None, y=None, **settings):
    """An integrator with what it solves."""
    integrator, model = (SOLVERS | SAMPLERS)[name](**settings), model or mixture(schedule)
    sampler = Sampler(integrator, times(8), diffusion=None if integrator.own_noise else diffusion or BetaDiffusion())
    return integrator, sampler.dynamics(model, PATH[schedule], y)


# The last step.

LAST = {
    "mean": lambda oracle, sde, x, t: x + (1 - t) * sde.drift(x, t),
    "euler": lambda oracle, sde, x, t: x + (1 - t) * oracle.velocity(x, t),
    "tweedie": lambda oracle, sde, x, t: (x + (1 - t) ** 2 * oracle.score(x, t)) / t,  # on straight lines
}


@every_solver
@pytest.mark.parametrize("last", LAST)
def test_the_last_step_is_its_formula_and_draws_nothing(name, last):
    integrator, sde = problem(name, diffusion=ConstantDiffusion(0.7), last_step=last)
    x, generator = states(), seeded()
    found = integrator.step(sde, x, 0.9, 1.0, generator)
    torch.testing.assert_close(found, LAST[last](mixture(), sde, x, 0.9), rtol=1e-12, atol=1e-12)
    assert torch.equal(generator.get_state(), seeded().get_state())
    plain = (SOLVERS[name])()
    assert torch.equal(integrator.step(sde, x, 0.5, 0.9, seeded()), plain.step(sde, x, 0.5, 0.9, seeded()))


@every_solver
@pytest.mark.parametrize("last", LAST)
def test_the_last_step_of_a_grid_that_ends_before_1_is_another_one_too(name, last):
    integrator, sde = problem(name, diffusion=ConstantDiffusion(0.7), last_step=last)
    *_, before = SOLVERS[name]().trajectory(sde, states(), [0.0, 0.5, 0.9], seeded())
    *_, same, found = integrator.trajectory(sde, states(), [0.0, 0.5, 0.9, 0.95], seeded())
    ahead = {
        "mean": lambda x: x + (0.95 - 0.9) * sde.drift(x, 0.9),
        "euler": lambda x: x + (0.95 - 0.9) * mixture().velocity(x, 0.9),
        "tweedie": lambda x: mixture().denoise(x, 0.9),
    }
    assert torch.equal(same, before)
    torch.testing.assert_close(found, ahead[last](before), rtol=1e-12, atol=1e-12)


def test_tweedie_needs_a_path_that_gives_the_mean_of_the_data():
    class Turned(Path):
        def sample(self, x0, z, t, generator=None): ...

        def velocity(self, x, x0, z, t): ...

    assert "Turned does not give" in SRK(last_step="tweedie").problems(Turned())[0]
    assert SRK(last_step="euler").problems(Turned()) == SRK(last_step="tweedie").problems(PATH["vp"]) == []


# Both ends.


COEFFICIENTS = {"beta": BetaDiffusion(), "constant": ConstantDiffusion(), "sbdm": SBDMDiffusion()}


@pytest.mark.parametrize(
    ("name", "diffusion"), [*((n, c) for n in SOLVERS for c in COEFFICIENTS), *((n, None) for n in SAMPLERS)]
)
@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("head", [VelocityHead(), DataHead()], ids=lambda head: type(head).__name__)
def test_samples_are_finite_from_0_to_1_in_low_precision(name, diffusion, schedule, dtype, head):
    """Of a model with one field, from which the path converts all others; it is never asked at t = 1."""

    class Network(torch.nn.Module):
        def forward(self, x, t, y=None):
            assert (t < 1).all()
            return mixture(schedule).predict(x, t, None, head.quantities)[0]

    model = Model(Network(), head, PATH[schedule])
    integrator, dynamics = problem(name, schedule, COEFFICIENTS.get(diffusion), model)
    for steps in (1, 6):
        x = integrator.integrate(dynamics, states().to(dtype), times(steps), seeded())
        assert x.dtype == dtype
        assert x.isfinite().all()
    assert not integrator.evaluates_end


# Randomness.


# What is promised.


def test_without_noise_stochastic_heun_is_the_method_of_heun():
    """To rounding: the two add up in another order."""
    integrator, sde = problem("stochastic_heun", diffusion=ConstantDiffusion(0.0))
    generator, grid = seeded(), times(10, 0.0, 0.9)
    found = integrator.integrate(sde, states(), grid, generator)
    torch.testing.assert_close(found, Heun().integrate(ODE(mixture()), states(), grid), rtol=1e-14, atol=1e-14)
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_without_noise_srk_is_the_method_of_ralston_to_the_bit():
    integrator, sde = problem("srk", diffusion=ConstantDiffusion(0.0))
    oracle, x, generator = mixture(), states(), seeded()
    first = oracle.velocity(x, 0.5)
    second = oracle.velocity(x + 3 / 4 * 0.25 * first, 0.6875)
    assert torch.equal(integrator.step(sde, x, 0.5, 0.75, generator), x + 0.25 / 3 * (first + 2 * second))
    assert torch.equal(generator.get_state(), seeded().get_state())


EVALUATIONS = {
    # Where in a step from 0 to 1 the drift is evaluated.
    "euler_maruyama": [0.0],
    "stochastic_heun": [0.0, 1.0],
    "srk": [0.0, 0.75],
}


@every_solver
def test_a_step_evaluates_as_often_and_where_it_says(name):
    class Seen(Dynamics):
        def __init__(self):
            self.drifts = []

        def drift(self, x, t):
            self.drifts.append(t)
            return -x

        def diffusion(self, t):
            return 1.0

    dynamics = Seen()
    SOLVERS[name]().step(dynamics, states(), 0.25, 0.75, seeded())
    assert dynamics.drifts == [0.25 + 0.5 * fraction for fraction in EVALUATIONS[name]]


@every_sampler
@pytest.mark.parametrize(("schedule", "steps"), [("condot", 5), ("vp", 5)])
def test_a_sampler_evaluates_as_often_as_it_says(name, schedule, steps):
    """Heun: twice, but once to beta = 0 and once from alpha = 0. A correction after each step, but not at beta = 0."""
    integrator, dynamics = problem(name, schedule)
    integrator.integrate(dynamics, states(), times(steps), seeded())
    twice = steps - 2 if schedule == "condot" and name == "edm_churn" else steps - 1
    expected = steps + (twice if name in ("edm_churn", "predictor_corrector") else 0)
    assert dynamics.evaluations == expected


@every_integrator
def test_time_runs_forwards(name):
    integrator, dynamics = problem(name)
    with pytest.raises(ValueError, match=r"forwards in time, not from 0\.5 to 0\.25"):
        integrator.step(dynamics, states(), 0.5, 0.25, seeded())


@every_sampler
def test_a_sampler_needs_a_gaussian_path_and_a_model(name):
    class Turned(Path):
        schedule = CondOT()

        def sample(self, x0, z, t, generator=None): ...

        def velocity(self, x, x0, z, t): ...

    integrator = SAMPLERS[name]()
    assert "needs a Gaussian path; Turned is none" in integrator.problems(Turned())[0]
    assert integrator.problems(PATH["vp"]) == []
    assert (integrator.own_noise, integrator.needs) == (True, (Quantity.DATA,))
    with pytest.raises(UnsupportedError, match="needs the ODE of a model on a Gaussian path"):
        integrator.step(ODE(mixture()), states(), 0.25, 0.5, seeded())


@every_integrator
def test_the_condition_is_passed_on(name):
    """Each sample with its label, side by side, is the same as with the mixture of that label alone."""
    oracle, x, y, noise = mixture(), states(4), torch.tensor([0, 1, 2, -1]), states(4)
    integrator, dynamics = problem(name, model=oracle, y=y)
    found = integrator.integrate(dynamics, x, times(5), Replay(noise))
    for i, label in enumerate(y.tolist()):
        alone = GaussianMixture(oracle.means[[label]], oracle.stds[[label]], [1.0]) if label >= 0 else oracle
        integrator, dynamics = problem(name, model=alone)
        expected = integrator.integrate(dynamics, x[i : i + 1], times(5), Replay(noise[i : i + 1]))
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-9, atol=1e-9)
