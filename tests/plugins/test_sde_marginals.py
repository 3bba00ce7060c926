"""Every SDE integrator with every diffusion coefficient, and every sampler with its own noise, keeps the marginals.

In the plane, by moments of a few hundred samples. How sharply many samples tell a wrong drift is in `test_sde_laws`.
"""

import functools
import math

import pytest
import torch
from brownian import Brownian, IntegratedBrownian
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_ode.rk4 import RK4
from flowkit_sde.coefficients import (
    BetaDiffusion,
    CallableDiffusion,
    ConstantDiffusion,
    DecreasingDiffusion,
    IncreasingDecreasingDiffusion,
    LinearDiffusion,
    SBDMDiffusion,
)
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.dpmpp_sde import DPMppSDE
from flowkit_sde.edm_churn import EDMChurn
from flowkit_sde.euler_maruyama import EulerMaruyama
from flowkit_sde.predictor_corrector import PredictorCorrector
from flowkit_sde.srk import SRK
from flowkit_sde.stochastic_heun import StochasticHeun
from oracles import LIMIT, mixture, seeded, standard_errors

from flowkit import ODE, SDE

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
COEFFICIENTS = {
    "constant": ConstantDiffusion,
    "beta": BetaDiffusion,
    "sbdm": lambda scale: SBDMDiffusion(scale, maximum=2.0),
    "linear": LinearDiffusion,
    "decreasing": DecreasingDiffusion,
    "increasing_decreasing": IncreasingDecreasingDiffusion,
}
MANY = 500
AT = (0.25, 0.5, 0.75, 1.0)


def statistics(oracle, x, t):
    """What is compared: means, second moments, the mass on the left (one component), the log density."""
    a, b = x.unbind(1)
    return torch.stack([a, b, a * a, b * b, a * b, (a < 0).double(), oracle.log_prob(x, t)], dim=1)


@functools.cache
def exact(schedule, t):
    """The means of the statistics over exact draws of p_t, and their standard errors."""
    oracle = mixture(schedule)
    found = statistics(oracle, oracle.sample(50_000, t, seeded(3)), t)
    return found.mean(0), standard_errors(found)


def assert_marginals(schedule, integrators, diffusion, steps, noise):
    """From the exact p_0, at the times `AT`, against exact draws of p_t.

    The step is short enough: along the same Brownian paths, half the step changes every mean by less than half a
    standard error. The bias is at most proportional to the step (weak order 1), so it is twice that change: below one
    of the standard errors, which is added to the limit.
    """
    oracle = mixture(schedule)
    x0 = oracle.sample(MANY, 0.0, seeded(1))
    path = PATH[schedule]
    # Never 0, so that a step without noise draws as well, and all step lengths stay on one Brownian path.
    drawn = CallableDiffusion(lambda t: diffusion.sigma(t, path) or 1e-300)
    sde = SDE(oracle, drawn, path=path) if diffusion else ODE(oracle, path=path)

    def solve(integrator, n, merged):
        grid = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        states = integrator.trajectory(sde, x0, grid, noise(2, MANY, merged))
        return [x for i, x in enumerate(states) if i and i % (n // 4) == 0]

    coarse, fine = (solve(it, n, m) for it, n, m in zip(integrators, (steps, 2 * steps), (2, 1), strict=True))
    for t, rough, smooth in zip(AT, coarse, fine, strict=True):
        rough, smooth = statistics(oracle, rough, t), statistics(oracle, smooth, t)
        mean, mean_error = exact(schedule, t)
        error = (standard_errors(smooth) ** 2 + mean_error**2).sqrt()
        assert ((rough - smooth).mean(0).abs() < 0.5 * error).all(), t
        assert ((smooth.mean(0) - mean).abs() < (LIMIT + 1) * error).all(), t


SOLVERS = {
    # The number of steps, and the draws of a step.
    "euler_maruyama": (EulerMaruyama(), 80, Brownian),
    "stochastic_heun": (StochasticHeun(), 40, Brownian),
    "srk": (SRK(), 20, IntegratedBrownian),
}


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("name", SOLVERS)
def test_every_diffusion_coefficient_keeps_the_marginals(name, coefficient):
    """At the size at which the noise counts most."""
    integrator, steps, noise = SOLVERS[name]
    assert_marginals("condot", [integrator] * 2, COEFFICIENTS[coefficient](2.0), steps, noise)


@pytest.mark.parametrize("name", SOLVERS)
def test_without_noise_the_marginals_are_kept_as_well(name):
    integrator, steps, noise = SOLVERS[name]
    assert_marginals("condot", [integrator] * 2, ConstantDiffusion(0.0), steps, noise)


@pytest.mark.parametrize("coefficient", ["constant", "sbdm"])
@pytest.mark.parametrize("schedule", ["cosine", "vp"])
@pytest.mark.parametrize("name", SOLVERS)
def test_other_schedules_keep_the_marginals(name, schedule, coefficient):
    integrator, steps, noise = SOLVERS[name]
    assert_marginals(schedule, [integrator] * 2, COEFFICIENTS[coefficient](1.0), steps, noise)


class Late(Brownian):
    """For a method that draws nothing in its first step: half of a longer first step goes to the shorter second."""

    def draw(self, function, numbers=1):
        merged, self.draw = self.merged, super().draw
        for _ in range(merged - 1):
            function(self.count, self.generator)
        return self.draw(function)


SAMPLERS = {
    # The method for n and for 2 n steps.
    "ddpm_ancestral": [DDPMAncestral()] * 2,
    "ddpm_ancestral, large": [DDPMAncestral(variance="large")] * 2,
    "ddim, half the noise": [DDPMAncestral(eta=0.5)] * 2,
    "dpmpp_sde": [DPMppSDE()] * 2,
    "edm_churn": [EDMChurn(s_churn=10.0, s_min=0.0, s_max=1000.0)] * 2,
    # A correction is made shorter with the step.
    "predictor_corrector": [PredictorCorrector(snr=0.1), PredictorCorrector(snr=0.1 / math.sqrt(2))],
}
STEPS = {"ddpm_ancestral": 140, "ddim, half the noise": 200}


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_marginals(name, schedule):
    """The last step of `vp` is a long one in beta, and takes more of them."""
    steps, noise = STEPS.get(name, 60), Late if name == "edm_churn" else Brownian
    assert_marginals(schedule, SAMPLERS[name], None, steps * 3 // 2 // 4 * 4 if schedule == "vp" else steps, noise)


@pytest.mark.parametrize("schedule", PATH)
def test_the_ode_keeps_the_marginals(schedule):
    """RK4 with 48 steps: its error is far below sampling error (see the tests of its order)."""
    assert_marginals(schedule, [RK4()] * 2, None, 24, Brownian)


def test_the_comparison_of_marginals_sees_a_wrong_factor():
    """sigma^2 instead of sigma^2 / 2 on the score, a common slip, is far outside the limit."""

    class Slip(SDE):
        def drift(self, x, t):
            return super().drift(x, t) + self.diffusion(t) ** 2 / 2 * self.model.score(x, t)

    oracle = mixture()
    x0, grid = oracle.sample(8 * MANY, 0.0, seeded(1)), torch.linspace(0, 1, 101, dtype=torch.float64)
    x = EulerMaruyama().integrate(Slip(oracle, ConstantDiffusion(0.5), path=PATH["condot"]), x0, grid, seeded(2))
    found, (mean, mean_error) = statistics(oracle, x, 1.0), exact("condot", 1.0)
    error = (standard_errors(found) ** 2 + mean_error**2).sqrt()
    assert ((found.mean(0) - mean).abs() > 2 * (LIMIT + 1) * error).any()
