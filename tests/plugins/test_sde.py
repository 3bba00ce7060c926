"""The sampling SDE: its drift and noise, and Euler-Maruyama."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_ode.euler import Euler
from flowkit_sde.coefficients import BetaDiffusion, ConstantDiffusion
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import LIMIT, SCHEDULES, errors_off, mixture, seeded

from flowkit import ODE, SDE, Dynamics, Path

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}


class OrnsteinUhlenbeck(Dynamics):
    """dX = -X dt + sigma dW."""

    def __init__(self, sigma=1.0):
        self.sigma = sigma

    def drift(self, x, t):
        return -x

    def diffusion(self, t):
        return self.sigma


def times(steps):
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def states(n=5):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


# Coefficients and drift.


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", PATH)
def test_the_coefficients_are_a_constant_and_a_multiple_of_beta(name, t):
    beta = SCHEDULES[name][1](torch.tensor(t, dtype=torch.float64)).sqrt().item()
    assert ConstantDiffusion(0.7).sigma(t, PATH[name]) == 0.7
    assert BetaDiffusion(0.7).sigma(t, PATH[name]) == pytest.approx(0.7 * beta, rel=1e-12, abs=1e-15)
    assert ConstantDiffusion().sigma(t, PATH[name]) == 1
    assert BetaDiffusion().sigma(t, PATH[name]) == pytest.approx(beta, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("diffusion", [ConstantDiffusion(1.5), BetaDiffusion(1.5)], ids=["constant", "beta"])
def test_the_drift_is_the_velocity_plus_half_sigma_squared_times_the_score(diffusion):
    oracle, x, t = mixture(), states(), 0.6
    sigma = {ConstantDiffusion: 1.5, BetaDiffusion: 1.5 * 0.4}[type(diffusion)]
    sde = SDE(oracle, diffusion, path=PATH["condot"])
    assert sde.diffusion(t) == pytest.approx(sigma, rel=1e-14)
    expected = oracle.velocity(x, t) + 0.5 * sigma * sigma * oracle.score(x, t)
    torch.testing.assert_close(sde.drift(x, t), expected, rtol=1e-12, atol=1e-12)


def test_drift_and_noise_are_given_the_condition():
    oracle, x, y = mixture(), states(4), torch.tensor([0, 1, 2, -1])
    sde = SDE(oracle, ConstantDiffusion(2.0), path=PATH["condot"], y=y)
    torch.testing.assert_close(sde.drift(x, 0.5), oracle.velocity(x, 0.5, y) + 2 * oracle.score(x, 0.5, y))


def test_the_beta_coefficient_needs_a_schedule():
    class Bare(Path):
        def sample(self, x0, z, t): ...

        def velocity(self, x, x0, z, t): ...

    assert "Bare has none: use 'constant'" in BetaDiffusion().problems(Bare())[0]
    assert BetaDiffusion().problems(PATH["vp"]) == ConstantDiffusion().problems(Bare()) == []


# Euler-Maruyama.


@pytest.mark.parametrize("diffusion", [ConstantDiffusion(0.0), BetaDiffusion(0.0)], ids=["constant", "beta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_diffusion_it_is_the_euler_method_to_the_bit(diffusion, dtype):
    oracle, x = mixture(), states().to(dtype)
    sde = SDE(oracle, diffusion, path=PATH["condot"])
    generator = seeded()
    found = EulerMaruyama().integrate(sde, x, times(20), generator)
    assert torch.equal(found, Euler().integrate(ODE(oracle), x, times(20)))
    assert torch.equal(generator.get_state(), seeded().get_state())  # and no noise is drawn


def test_a_step_by_hand():
    x, noise = states(), torch.randn(5, 2, generator=seeded(7), dtype=torch.float64)
    found = EulerMaruyama().step(OrnsteinUhlenbeck(0.3), x, 0.25, 0.5, seeded(7))
    torch.testing.assert_close(found, x - 0.25 * x + 0.3 * math.sqrt(0.25) * noise)


def test_the_variance_follows_the_recursion_of_the_method():
    """Of dX = -X dt + sigma dW, var(X + h (-X) + sigma sqrt(h) xi) = (1 - h)^2 var(X) + sigma^2 h, exactly."""
    h, sigma, mean, variance = 0.25, 0.8, 2.0, 0.0
    x = EulerMaruyama().integrate(
        OrnsteinUhlenbeck(sigma), torch.full((40_000, 1), mean, dtype=torch.float64), times(4), seeded()
    )
    for _ in range(4):
        mean, variance = (1 - h) * mean, (1 - h) ** 2 * variance + sigma**2 * h
    assert errors_off(x, mean) < LIMIT
    assert errors_off((x - mean).square(), variance) < LIMIT


def test_every_step_and_every_element_has_noise_of_its_own():
    x = torch.zeros(20_000, 2, dtype=torch.float64)

    class Still(Dynamics):
        def drift(self, x, t):
            return torch.zeros_like(x)

        def diffusion(self, t):
            return 1.0

    first, second = list(EulerMaruyama().trajectory(Still(), x, [0.0, 0.5, 1.0], seeded()))[1:]
    increments = torch.cat([first, second - first], dim=1) / math.sqrt(0.5)
    moments = torch.einsum("ni,nj->nij", increments, increments)
    assert errors_off(moments, torch.eye(4)) < LIMIT


def test_a_step_evaluates_once_and_at_its_start():
    class Seen(OrnsteinUhlenbeck):
        def __init__(self):
            super().__init__()
            self.drifts, self.diffusions = [], []

        def drift(self, x, t):
            self.drifts.append(t)
            return super().drift(x, t)

        def diffusion(self, t):
            self.diffusions.append(t)
            return super().diffusion(t)

    dynamics = Seen()
    EulerMaruyama().integrate(dynamics, states(), times(10), seeded())
    assert dynamics.drifts == times(10)[:-1].tolist()
    assert set(dynamics.diffusions) == set(dynamics.drifts)
    assert EulerMaruyama.stochastic
    assert not EulerMaruyama.evaluates_end


def test_an_sde_is_not_solved_backwards():
    with pytest.raises(ValueError, match=r"solved forwards in time, not from 0\.5 to 0\.25"):
        EulerMaruyama().step(OrnsteinUhlenbeck(), states(), 0.5, 0.25)
