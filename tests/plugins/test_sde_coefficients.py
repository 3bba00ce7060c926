"""The diffusion coefficients: their formulas, their ends, and the one that reverses the noising of data."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_sde.coefficients import (
    CallableDiffusion,
    DecreasingDiffusion,
    IncreasingDecreasingDiffusion,
    LinearDiffusion,
    SBDMDiffusion,
)
from oracles import SCHEDULES, GaussianMixture

from flowkit import SDE, Path, Schedule, UnsupportedError

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
every_schedule = pytest.mark.parametrize("schedule", PATH)
inside = [0.05, 0.3, 0.5, 0.8, 0.97]

# sigma_t^2 with scale 1: the forms of SiT's code, whose noise is the root of twice a form.
OF_TIME = {
    "linear": (LinearDiffusion, lambda t: 1 - t),
    "decreasing": (DecreasingDiffusion, lambda t: 0.25 * (math.cos(math.pi * t) + 1) ** 2),
    "increasing_decreasing": (IncreasingDecreasingDiffusion, lambda t: math.sin(math.pi * t) ** 2),
}


@pytest.mark.parametrize("t", [0.0, *inside, 1.0])
@pytest.mark.parametrize("name", OF_TIME)
def test_the_square_of_the_coefficient_is_the_form_of_sit(name, t):
    coefficient, form = OF_TIME[name]
    assert coefficient(3.0).sigma(t, PATH["condot"]) ** 2 == pytest.approx(9 * form(t), abs=1e-14)
    assert coefficient(0.0).sigma(t, PATH["condot"]) == 0


@every_schedule
def test_sbdm_is_the_noising_of_data_run_backwards(schedule):
    """Of one Gaussian N(m, s^2) for data, by the covariance of two times.

    The forward process from s back to t < s is x_t = alpha_t / alpha_s x_s + noise, so the mean of x_s given x_t is
    linear with slope alpha_t v_s / (alpha_s v_t), v the variances. Solving the SDE, that slope grows with the slope of
    the drift: the latter is the derivative of log(v_s / alpha_s), here by autograd.
    """
    oracle, x = GaussianMixture([[1.0]], [0.5], [1.0], schedule), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    sde = SDE(oracle, SBDMDiffusion(maximum=1e6), path=PATH[schedule])
    alpha, beta_squared = SCHEDULES[schedule]
    for at in inside:
        t = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        growth = torch.log((alpha(t) ** 2 * 0.25 + beta_squared(t)) / alpha(t))
        (expected,) = torch.autograd.grad(growth, t)
        low, high = sde.drift(x, at)
        assert float(high - low) == pytest.approx(float(expected), rel=1e-9)


@every_schedule
@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_sbdm_stops_at_its_maximum_and_never_is_negative_or_nan(schedule, scale):
    diffusion = SBDMDiffusion(scale, maximum=3.0)
    found = [diffusion.sigma(t, PATH[schedule]) for t in torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1].tolist()]
    assert all(0 <= sigma <= 3 for sigma in found)
    # At t = 0 it is infinite where alpha is 0; of vp it is the root of the largest rate.
    assert found[0] == pytest.approx(min(3.0, scale * math.sqrt(20)) if schedule == "vp" else 3.0 * (scale > 0))


def test_sbdm_is_0_where_the_noise_does_not_fade_though_rounding_says_less():
    """A schedule that rests: alpha and beta change in proportion, and their two rates cancel but for the last digit."""

    class Resting(Schedule):
        def __init__(self, rate):
            self.rate = rate

        def alpha(self, t):
            return 0.3 * torch.exp(self.rate * t)

        def beta(self, t):
            return 0.7 * torch.exp(self.rate * t)

        def alpha_dot(self, t):
            return self.rate * self.alpha(t)

        def beta_dot(self, t):
            return self.rate * self.beta(t)

    for rate in torch.linspace(0.01, 1, 100).tolist():
        assert SBDMDiffusion().sigma(0.5, GaussianPath(Resting(rate))) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("schedule", ["condot", "cosine"])
def test_sbdm_is_0_at_the_data(schedule):
    assert SBDMDiffusion().sigma(1.0, PATH[schedule]) == 0


def test_sbdm_is_refused_where_the_slope_of_beta_is_infinite():
    with pytest.raises(UnsupportedError, match="'sbdm' is not determined at t = 1"):
        SBDMDiffusion().sigma(1.0, PATH["vp"])


def test_sbdm_needs_a_gaussian_path():
    class Turned(Path):
        schedule = CondOT()

        def sample(self, x0, z, t, generator=None): ...

        def velocity(self, x, x0, z, t): ...

    assert "Turned is none: use 'constant'" in SBDMDiffusion().problems(Turned())[0]
    assert SBDMDiffusion().problems(PATH["vp"]) == LinearDiffusion().problems(Turned()) == []


def test_a_function_is_a_coefficient_if_it_gives_one():
    assert CallableDiffusion(lambda t: 2 * t).sigma(0.25, PATH["condot"]) == 0.5
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"at least 0 and finite; the function gives .* at t = 0\.5"):
            CallableDiffusion(lambda t: wrong).sigma(0.5, PATH["condot"])  # noqa: B023
