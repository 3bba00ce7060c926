"""The orders of convergence of the SDE integrators, strong along shared Brownian paths and weak without sampling."""

import functools
import math

import pytest
import torch
from brownian import Brownian, Impulses, IntegratedBrownian, Replay
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_sde.coefficients import CallableDiffusion
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.dpmpp_sde import DPMppSDE
from flowkit_sde.edm_churn import EDMChurn
from flowkit_sde.euler_maruyama import EulerMaruyama
from flowkit_sde.predictor_corrector import PredictorCorrector
from flowkit_sde.srk import SRK
from flowkit_sde.stochastic_heun import StochasticHeun
from oracles import SCHEDULES, GaussianMixture, seeded

from flowkit import ODE, SDE, Dynamics

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
SOLVERS = {"euler_maruyama": EulerMaruyama(), "stochastic_heun": StochasticHeun(), "srk": SRK()}


def times(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def slopes(coarse, fine):
    """The order seen between one number of steps and twice as many."""
    return [math.log2(a / b) for a, b in zip(coarse, fine, strict=True)]


# In the strong sense.


class Wave(Dynamics):
    """dX = (cos 3t - sin 2X) dt + (1 + sin(2t) / 2) dW: neither linear nor autonomous."""

    def drift(self, x, t):
        return math.cos(3 * t) - torch.sin(2 * x)

    def diffusion(self, t):
        return 1 + math.sin(2 * t) / 2


FINEST, PATHS = 512, 500


@functools.cache
def along_paths(name, steps):
    """The ends of `PATHS` paths from 1, with `steps` steps along the same Brownian paths for all."""
    noise = IntegratedBrownian(0, PATHS, FINEST // steps)
    x0 = torch.ones(PATHS, 1, dtype=torch.float64)
    return SOLVERS[name].integrate(Wave(), x0, times(steps), noise if name == "srk" else Increments(noise))


@pytest.mark.parametrize(("name", "order"), [("euler_maruyama", 1.0), ("stochastic_heun", 1.0), ("srk", 1.5)])
def test_the_error_along_a_brownian_path_falls_with_the_strong_order(name, order):
    """Against 512 steps of SRK along the same paths, whose own error is (1/8)^(3/2) of its smallest here.

    The RMS error over 500 paths has a relative standard error of a few percent, but the paths are the same for all
    steps, and so is most of the chance in it.
    """
    exact = along_paths("srk", FINEST)
    errors = [float((along_paths(name, steps) - exact).square().mean().sqrt()) for steps in (8, 16, 32, 64)]
    assert slopes(errors[:-1], errors[1:]) == pytest.approx([order] * 3, abs=0.2)
    assert SOLVERS[name].order == order


class Increments(Brownian):
    """The increments of Brownian paths whose integrals are drawn as well, and not wanted."""

    def __init__(self, paths):
        self.paths = paths

    def draw(self, function, numbers=1):
        increment = self.paths.draw(function)
        self.paths.draw(function)
        return increment


def test_merged_noise_has_the_joint_law_of_an_increment_and_its_integral():
    """The two draws that make them are independent and standard normal, whatever is merged."""
    draws = IntegratedBrownian(3, 100_000, 4)
    a, b = (draws.draw(lambda n, g: torch.randn(n, generator=g, dtype=torch.float64)) for _ in range(2))
    assert torch.stack([a, b]).cov().flatten().tolist() == pytest.approx([1, 0, 0, 1], abs=5 * math.sqrt(2 / 100_000))


def test_with_constant_noise_a_step_of_srk_is_that_of_torchsde():
    torchsde = pytest.importorskip("torchsde")

    class Same(torch.nn.Module):
        noise_type, sde_type = "additive", "ito"

        def f(self, t, x):
            return Wave().drift(x, float(t))

        def g(self, t, x):
            return 0.7 * torch.eye(2, dtype=x.dtype).expand(len(x), 2, 2)

    class Constant(Wave):
        def diffusion(self, t):
            return 0.7

    h, x = 0.25, torch.randn(6, 2, generator=seeded(), dtype=torch.float64)
    bm = torchsde.BrownianInterval(
        0.5, 0.5 + h, size=(6, 2), dtype=torch.float64, entropy=1, levy_area_approximation="space-time"
    )
    theirs = torchsde.sdeint(Same(), x, torch.tensor([0.5, 0.5 + h], dtype=torch.float64), bm=bm, method="srk", dt=h)
    increment, integral = bm(0.5, 0.5 + h, return_U=True)
    first = increment / math.sqrt(h)
    second = math.sqrt(3) * (2 * integral / h**1.5 - first)
    ours = SRK().step(Constant(), x, 0.5, 0.5 + h, Replay(first, second))
    torch.testing.assert_close(ours, theirs[-1], rtol=1e-12, atol=1e-12)


# In the weak sense. With one Gaussian for data every step is affine, and mean and variance are found exactly.

MEAN, STD = 1.0, 0.5


def exact_moments(schedule, t):
    alpha, beta_squared = (float(function(torch.tensor(t, dtype=torch.float64))) for function in SCHEDULES[schedule])
    return alpha * MEAN, alpha**2 * STD**2 + beta_squared


def moment_errors(integrator, schedule, sigma, grid, draws):
    """How far the mean and the variance at the end of the grid are off, with at most `draws` draws a step."""
    oracle = GaussianMixture([[MEAN]], [STD], [1.0], schedule)
    mean, variance = exact_moments(schedule, float(grid[0]))
    x = torch.full((2 + draws * len(grid), 1), mean, dtype=torch.float64)
    x[1] += math.sqrt(variance)
    path = PATH[schedule]
    dynamics = ODE(oracle, path=path) if integrator.own_noise else SDE(oracle, CallableDiffusion(sigma), path=path)
    x = integrator.integrate(dynamics, x, grid, Impulses(len(x), 2))
    mean, variance = exact_moments(schedule, float(grid[-1]))
    return abs(float(x[0] - mean)), abs(float((x[1:] - x[0]).square().sum() - variance))


def wave(t):
    return 0.5 + math.sin(2 * t)


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize(("name", "order"), [("euler_maruyama", 1.0), ("stochastic_heun", 2.0), ("srk", 2.0)])
def test_mean_and_variance_converge_with_the_weak_order(name, order, schedule):
    """40 and 80 steps: the next term of the error is a few h below the leading one. On straight lines the mean has no
    error: E[x_t] = t m is linear in t, and the score is 0 there.
    """
    coarse, fine = (moment_errors(SOLVERS[name], schedule, wave, times(n, 0.1, 0.8), 2) for n in (40, 80))
    if schedule == "condot":
        assert max(coarse[0], fine[0]) < 1e-14
        coarse, fine = coarse[1:], fine[1:]
    assert slopes(coarse, fine) == pytest.approx([order] * len(fine), abs=0.2)


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("last", ["none", "mean", "euler", "tweedie"])
@pytest.mark.parametrize("name", SOLVERS)
def test_with_every_last_step_samples_converge_to_the_data(name, last, schedule):
    """With sigma = 1 - t or 1, up to t = 1: at least of order 1, up to a quarter for the higher terms."""
    integrator = type(SOLVERS[name])(last_step=last)

    def sigma(t):
        return 1 - t if schedule == "condot" else 1.0

    coarse, fine = (moment_errors(integrator, schedule, sigma, times(n), 2) for n in (40, 80))
    assert max(coarse) < 0.03
    assert all(b <= 0.6 * a for a, b in zip(coarse, fine, strict=True))


SAMPLERS = {
    # The method with n steps, its weak order, and n.
    "ddpm_ancestral": (lambda n: DDPMAncestral(), 1, 40),
    "ddpm_ancestral, large": (lambda n: DDPMAncestral(variance="large"), 1, 40),
    "ddim": (lambda n: DDPMAncestral(eta=0.0), 1, 40),
    "ddim, half the noise": (lambda n: DDPMAncestral(eta=0.5), 1, 40),
    "dpmpp_sde": (
        lambda n: DPMppSDE(),
        2,
        80,
    ),  # on straight lines its error is small, and late in the asymptotic range
    "edm_churn": (lambda n: EDMChurn(s_churn=10.0), 2, 40),
    "edm_churn, none": (lambda n: EDMChurn(s_churn=0.0), 2, 40),
    "predictor_corrector": (lambda n: PredictorCorrector(snr=1 / math.sqrt(n)), 1, 40),
}


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_variance_of_a_sampler_converges_with_its_weak_order(name, schedule):
    """As above. The mean of one Gaussian has no error: there, D is the mean of the data. The correction is made shorter
    with the step, since its own error does not depend on that.
    """
    make, order, steps = SAMPLERS[name]
    coarse, fine = (moment_errors(make(n), schedule, None, times(n, 0.2, 0.8), 1) for n in (steps, 2 * steps))
    assert max(coarse[0], fine[0]) < 1e-14
    assert slopes(coarse[1:], fine[1:]) == pytest.approx([order], abs=0.2)


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_converges_along_a_brownian_path_with_the_order_that_it_declares(name, schedule):
    """What half the step changes falls as the error does. Within a step the weights of the noise differ by h, which is
    h^(3/2) of its increment, without a mean: order 1, or a little more where other terms are larger. Over two
    halvings, so that chance in the RMS of 500 paths is small against 0.2.
    """
    make, weak, _ = SAMPLERS[name]
    dynamics = ODE(GaussianMixture([[MEAN]], [STD], [1.0], schedule), path=PATH[schedule])
    x = torch.full((PATHS, 1), 0.3, dtype=torch.float64)
    ends = [make(n).integrate(dynamics, x, times(n, 0.2, 0.8), Brownian(0, PATHS, 128 // n)) for n in (16, 32, 64, 128)]
    first, last = (float((fine - coarse).square().mean().sqrt()) for coarse, fine in (ends[:2], ends[2:]))
    assert math.log2(first / last) / 2 > make(32).order - 0.2
    assert make(32).order <= weak


@pytest.mark.parametrize("delta", [0.04, 0.08])
def test_the_error_of_a_correction_itself_is_a_quarter_of_delta(delta):
    """Many corrections at one level: for N(m, v) with p = beta^2/v, the variance that stays has the relative error
    -delta (1 - p) / 4, up to delta^2, as one finds from the factor 1 - p (1 - sqrt(1 - delta)) of a correction.
    """
    oracle, t = GaussianMixture([[MEAN]], [STD], [1.0], "condot"), 0.6
    corrector = PredictorCorrector(snr=math.sqrt(delta) / 2, corrections=600)
    mean, variance = exact_moments("condot", t)
    x = torch.full((2 + 600, 1), mean, dtype=torch.float64)
    x[1] += math.sqrt(variance)
    x = corrector.step(ODE(oracle, path=PATH["condot"]), x, t, t, Impulses(602, 2))
    share = 0.4**2 / variance
    found = float((x[1:] - x[0]).square().sum()) / variance - 1
    assert found == pytest.approx(-delta / 4 * (1 - share), abs=delta**2)
