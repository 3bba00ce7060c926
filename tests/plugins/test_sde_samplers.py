"""The samplers with noise of their own, against the peers that define the same, and against each other."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from flowkit_exponential.ddim import DDIM
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.dpmpp_sde import DPMppSDE
from flowkit_sde.edm_churn import EDMChurn
from flowkit_sde.predictor_corrector import PredictorCorrector
from oracles import LIMIT, SCHEDULES, errors_off, mixture, seeded

from flowkit import ODE, ConfigError, Predictor, Quantity, Schedule, UnsupportedError
from flowkit.testing import check_integrator

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
every_schedule = pytest.mark.parametrize("schedule", PATH)


def times(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def states(n=5):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


class Table(Schedule):
    """alpha and beta at equal steps from 0 to 1, from the noise levels of a peer, which end with the data."""

    def __init__(self, alpha, beta):
        self.table = {"alpha": torch.as_tensor(alpha).double(), "beta": torch.as_tensor(beta).double()}
        self.steps = len(alpha) - 1

    def alpha(self, t):
        return self.table["alpha"][(t * self.steps).round().long()]

    def beta(self, t):
        return self.table["beta"][(t * self.steps).round().long()]


class Shrink(Predictor):
    """D(x) = tanh(x): no path has it, which is no matter to the arithmetic of a step."""

    def can_predict(self, wanted):
        return wanted is Quantity.DATA

    def predict(self, x, t, y, wanted):
        return (torch.tanh(x),)


# diffusers.


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_ancestral_is_the_ddpm_of_diffusers(variance):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(30, variance_type=f"fixed_{variance}", clip_sample=False, prediction_type="sample")
    theirs.alphas_cumprod, theirs.one = theirs.alphas_cumprod.double(), theirs.one.double()
    products = torch.cat([theirs.alphas_cumprod.flip(0), torch.ones(1, dtype=torch.float64)])
    path = GaussianPath(Table(products.sqrt(), (1 - products).sqrt()))

    x, generator = states(), seeded(1)
    ours = DDPMAncestral(variance=variance).trajectory(ODE(Shrink(), path=path), x, times(30), seeded(1))
    next(ours)
    for t, found in zip(theirs.timesteps, ours, strict=True):
        x = theirs.step(torch.tanh(x), t, x, generator=generator).prev_sample
        torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_with_eta_it_is_the_ddim_of_diffusers(eta):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(30, clip_sample=False, prediction_type="sample")
    theirs.alphas_cumprod = theirs.alphas_cumprod.double()
    theirs.final_alpha_cumprod = theirs.final_alpha_cumprod.double()
    theirs.set_timesteps(30)
    products = torch.cat([theirs.alphas_cumprod.flip(0), torch.ones(1, dtype=torch.float64)])
    path = GaussianPath(Table(products.sqrt(), (1 - products).sqrt()))

    x, generator = states(), seeded(1)
    ours = DDPMAncestral(eta=eta).trajectory(ODE(Shrink(), path=path), x, times(30), seeded(1))
    next(ours)
    for t, found in zip(theirs.timesteps, ours, strict=True):
        x = theirs.step(torch.tanh(x), t, x, eta=eta, generator=generator).prev_sample
        torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", PATH)
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.9, 0.0)], ids=["forwards", "backwards"])
def test_without_noise_it_is_ddim_in_either_direction(schedule, ends):
    ode = ODE(mixture(schedule), path=PATH[schedule])
    grid = torch.linspace(*ends, 9, dtype=torch.float64)
    found = DDPMAncestral(eta=0.0).integrate(ode, states(), grid)
    torch.testing.assert_close(found, DDIM().integrate(ode, states(), grid), rtol=1e-9, atol=1e-9)


def test_without_noise_it_solves_an_ode_and_says_so():
    assert DDPMAncestral().stochastic
    assert not DDPMAncestral(eta=0.0).stochastic
    report = check_integrator(DDPMAncestral(eta=0.0))
    assert not report.failed
    assert "goes_backwards_or_refuses" in [outcome.check.name for outcome in report.of("passed")]
    ode = ODE(mixture(), path=PATH["condot"])
    with pytest.raises(UnsupportedError, match=r"does not lead away from t = 1, .* 'ddim' does"):
        DDPMAncestral(eta=0.0).integrate(ode, states(), [1.0, 0.5])


def test_without_noise_it_encodes_and_goes_with_optimal_pairs(tiny):
    without = {"name": "ddpm_ancestral", "eta": 0.0}
    pipeline = tiny.coupling("ot").sampling(without, steps=4, grid={"name": "uniform", "end": 0.9}).build()
    x = pipeline.sample(5)
    assert pipeline.encode(x).isfinite().all()
    with pytest.raises(ConfigError, match="independent"):
        pipeline.sample(5, integrator="ddpm_ancestral")


def test_dpmpp_sde_is_that_of_diffusers():
    """Their noise levels are in float32, and so are the steps between their logarithms."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", prediction_type="sample", final_sigmas_type="zero"
    )
    theirs.set_timesteps(20)
    theirs.sigmas = theirs.sigmas.double()
    alpha = 1 / (1 + theirs.sigmas**2).sqrt()
    path = GaussianPath(Table(alpha, alpha * theirs.sigmas))

    x, generator = states(), seeded(1)
    ours = DPMppSDE().trajectory(ODE(Shrink(), path=path), x, times(20), seeded(1))
    next(ours)
    for t, found in zip(theirs.timesteps, ours, strict=True):
        x = theirs.step(torch.tanh(x), t, x, generator=generator).prev_sample
        torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


# azula, whose time runs from 1 to 0.


class Denoiser:
    """What azula's samplers ask of a denoiser, on our path."""

    def __init__(self, schedule):
        self.oracle, self.of = mixture(schedule), PATH[schedule].schedule

    def schedule(self, t):
        return self.of.alpha(1 - t), self.of.beta(1 - t)

    def __call__(self, x, t):
        return SimpleNamespace(mean=self.oracle.denoise(x, 1 - float(t)))


# Their noise comes from torch's global generator, whose stream after manual_seed(0) is that of seeded(0).


def azula_sampler(name, schedule, **settings):
    sample = pytest.importorskip("azula.sample")
    return getattr(sample, name)(Denoiser(schedule), silent=True, dtype=torch.float64, **settings)


@every_schedule
def test_ddpm_ancestral_is_the_ddpm_of_azula(schedule):
    torch.manual_seed(0)
    theirs = azula_sampler("DDPMSampler", schedule, steps=12)(states())
    ours = DDPMAncestral().integrate(ODE(mixture(schedule), path=PATH[schedule]), states(), times(12), seeded(0))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@every_schedule
@pytest.mark.parametrize("corrections", [1, 2])
def test_predictor_corrector_is_that_of_azula(schedule, corrections):
    """There, a correction comes before each step, here after it: their first step goes without."""
    settings = {"corrections": corrections, "delta": 4 * 0.15**2}
    torch.manual_seed(0)
    x, grid = states(), times(12)
    for i, (t, s) in enumerate(zip(1 - grid[:-1], 1 - grid[1:], strict=True)):
        x = azula_sampler("PCSampler", schedule, **(settings if i else settings | {"corrections": 0})).step(x, t, s)
    ours = PredictorCorrector(snr=0.15, corrections=corrections)
    found = ours.integrate(ODE(mixture(schedule), path=PATH[schedule]), states(), grid, seeded(0))
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)


# The posterior, by hand.


@every_schedule
def test_a_step_of_ddpm_draws_from_the_posterior_of_the_forward_process(schedule):
    """q(x_s | x_t, z) by Bayes' rule: precisions add up. q(x_s|z) = N(alpha_s z, beta_s^2), and x_t given x_s is
    N(a x_s, beta_t^2 - a^2 beta_s^2) with a = alpha_t / alpha_s.
    """
    t, s, x, z = 0.4, 0.7, 0.3, 1.2
    at = {time: [float(f(torch.tensor(time, dtype=torch.float64))) for f in SCHEDULES[schedule]] for time in (t, s)}
    (alpha_t, square_t), (alpha_s, square_s) = at[t], at[s]
    a = alpha_t / alpha_s
    noise = square_t - a**2 * square_s
    precision = 1 / square_s + a**2 / noise
    mean = (alpha_s * z / square_s + a * x / noise) / precision

    class Known(Shrink):
        def predict(self, x, t, y, wanted):
            return (torch.full_like(x, z),)

    dynamics = ODE(Known(), path=PATH[schedule])
    found = DDPMAncestral().step(dynamics, torch.full((100_000, 1), x, dtype=torch.float64), t, s, seeded())
    assert errors_off(found, mean) < LIMIT
    assert errors_off((found - mean).square(), 1 / precision) < LIMIT


# Karras et al. 2022.


def karras(denoise, sigmas, y, sigma_hats, noise, s_noise):
    """Algorithm 2, line by line: y is their x, and t = sigma."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        sigma_hat = sigma_hats(i, sigma)
        if sigma_hat > sigma:
            y = y + math.sqrt(sigma_hat**2 - sigma**2) * s_noise * noise(y)
        slope = (y - denoise(y, sigma_hat)) / sigma_hat
        y_next = y + (sigma_next - sigma_hat) * slope
        if sigma_next > 0:
            slope_next = (y_next - denoise(y_next, sigma_next)) / sigma_next
            y_next = y + (sigma_next - sigma_hat) * (slope + slope_next) / 2
        y = y_next
    return y


@every_schedule
@pytest.mark.parametrize("s_churn", [0.0, 2.0, 1000.0])
def test_edm_churn_is_algorithm_2_in_sigma(schedule, s_churn):
    """For data of which D(y; sigma) is known for every sigma: that of the mixture, at the time with this sigma."""
    steps, s_min, s_max, s_noise = 10, 0.1, 2.0, 1.003
    path, oracle, grid = PATH[schedule], mixture(schedule), times(10, 0.05, 1.0)
    of = path.schedule
    sigmas = (of.beta(grid) / of.alpha(grid)).tolist()

    def time_of(sigma):
        return of.time_of_log_snr(torch.tensor(-2 * math.log(sigma), dtype=torch.float64))

    def denoise(y, sigma):
        t = time_of(sigma)
        return oracle.denoise(of.alpha(t) * y, t)

    def raised(i, sigma):
        gamma = min(s_churn / steps, math.sqrt(2) - 1) if s_min <= sigma <= s_max else 0.0
        return sigma * (1 + gamma)

    x, generator = states(), seeded(2)

    def noise(y):
        return torch.randn(y.shape, generator=generator, dtype=y.dtype)

    theirs = karras(denoise, sigmas, x / of.alpha(grid[0]), raised, noise, s_noise)
    ours = EDMChurn(s_churn, s_min, s_max, s_noise).integrate(ODE(oracle, path=path), x, grid, seeded(2))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_without_churn_nothing_is_drawn():
    generator = seeded()
    dynamics = ODE(mixture(), path=PATH["condot"])
    EDMChurn(s_churn=0.0).integrate(dynamics, states(), times(5), generator)
    DDPMAncestral(eta=0.0).integrate(dynamics, states(), times(5), generator)
    assert torch.equal(generator.get_state(), seeded().get_state())


# Against each other.


def test_the_first_two_and_the_last_step_of_dpmpp_sde_are_those_of_ddpm_ancestral():
    """The second as well, since there is nothing to extrapolate from alpha = 0."""
    dynamics = ODE(mixture(), path=PATH["condot"])
    ours, ddpm = (list(m.trajectory(dynamics, states(), times(6), seeded())) for m in (DPMppSDE(), DDPMAncestral()))
    torch.testing.assert_close(ours[:3], ddpm[:3], rtol=1e-12, atol=1e-12)
    assert (ours[3] - ddpm[3]).abs().max() > 1e-3
    torch.testing.assert_close(ours[6], mixture().denoise(ours[5], 5 / 6), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("integrator", [DDPMAncestral(), DPMppSDE(), EDMChurn(), PredictorCorrector()])
def test_the_last_sample_is_the_mean_of_the_data(integrator):
    """Also of `edm_churn`, whose last sigma, 0.02, is below s_min."""
    dynamics = ODE(mixture(), path=PATH["condot"])
    before, end = list(integrator.trajectory(dynamics, states(), times(50), seeded()))[-2:]
    torch.testing.assert_close(end, mixture().denoise(before, 0.98), rtol=1e-10, atol=1e-10)


# Settings.


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match=r"variance 'large' goes with eta = 1 only, got eta = 0\.5"):
        DDPMAncestral(eta=0.5, variance="large")
    with pytest.raises(ValueError, match=r"s_min must be at most s_max = 1\.0, got 2\.0"):
        EDMChurn(s_min=2.0, s_max=1.0)
