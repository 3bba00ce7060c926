"""The exponential integrators against those of diffusers and azula, on the same grid and with the same data prediction.

Where they differ, and why:

- DPMSolverMultistepScheduler and UniPCMultistepScheduler with `lower_order_final` take a lower order in the last steps
  (UniPC always, DPM-Solver++ below 15 steps); here only a step that ends at beta = 0 has order 1. They are compared
  without it, or where it changes nothing.
- They cannot start at alpha = 0, where lambda is -inf, and UniPC moves sigma = 1 to 1 - 1e-6. Grids start after it.
- DPMSolverMultistepScheduler rounds its state to float32 in every step.
- azula corrects no first step: its xEABSampler of order 3 is compared step by step, by its coefficients.
"""

import math

import pytest
import torch
from flowkit_exponential.adams_bashforth import ExponentialAdamsBashforth
from flowkit_exponential.ddim import DDIM
from flowkit_exponential.dpmpp_2m import DPMpp2M
from flowkit_exponential.dpmpp_2s import DPMpp2S
from flowkit_exponential.dpmpp_3m import DPMpp3M
from flowkit_exponential.unipc import UniPC
from flowkit_exponential.weights import interpolation
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from oracles import mixture, seeded

from flowkit import ODE

PATHS = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
every_path = pytest.mark.parametrize("schedule", PATHS)
UNEVEN = [0.02, 0.05, 0.2, 0.27, 0.5, 0.6, 0.63, 0.85, 0.98]


def noise():
    return torch.randn(20, 2, generator=seeded(), dtype=torch.float64)


def ours(integrator, schedule, grid):
    return integrator.integrate(ODE(mixture(schedule), path=PATHS[schedule]), noise(), grid)


def coefficients(schedule, grid):
    t = torch.tensor(grid, dtype=torch.float64)
    return PATHS[schedule].schedule.alpha(t), PATHS[schedule].schedule.beta(t)


def diffusers(kind, schedule, grid, **settings):
    """What a scheduler of diffusers makes of the oracle's data prediction, given our grid as its sigmas in float64."""
    schedulers = pytest.importorskip("diffusers.schedulers")
    flow = schedule == "condot"  # alpha = 1 - sigma; otherwise sigma = beta / alpha with alpha^2 + beta^2 = 1
    scheduler = getattr(schedulers, kind)(prediction_type="sample", use_flow_sigmas=flow, **settings)
    scheduler.set_timesteps(len(grid) - 1)
    alpha, beta = coefficients(schedule, grid)
    scheduler.sigmas = beta if flow else beta / alpha
    scheduler.set_begin_index(0)
    oracle, x = mixture(schedule), noise()
    for t, index in zip(grid[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(oracle.denoise(x, t), index, x).prev_sample
    return x


@every_path
@pytest.mark.parametrize("end", [[], [1.0]], ids=["inside", "to the data"])
@pytest.mark.parametrize(("order", "integrator"), [(2, DPMpp2M()), (3, DPMpp3M())], ids=["2m", "3m"])
def test_dpm_solver_multistep_of_diffusers(schedule, end, order, integrator):
    """Its state has a relative rounding error of 2^-24 in each of 8 or 9 steps, at values of about 3: 2e-6 in all."""
    grid = UNEVEN + end
    settings = {"solver_order": order, "lower_order_final": False, "final_sigmas_type": "zero" if end else "sigma_min"}
    found = diffusers("DPMSolverMultistepScheduler", schedule, grid, algorithm_type="dpmsolver++", **settings)
    torch.testing.assert_close(ours(integrator, schedule, grid), found, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("order", "integrator"), [(2, DPMpp2M()), (3, DPMpp3M())], ids=["2m", "3m"])
def test_dpm_solver_multistep_of_diffusers_as_it_comes(order, integrator):
    """With its own choices for the last steps, which from 15 steps on are ours. 20 roundings: 4e-6."""
    grid = torch.linspace(0.02, 1, 21, dtype=torch.float64).tolist()
    found = diffusers("DPMSolverMultistepScheduler", "condot", grid, solver_order=order)
    torch.testing.assert_close(ours(integrator, "condot", grid), found, rtol=0, atol=4e-6)


@every_path
def test_dpm_solver_singlestep_of_diffusers(schedule):
    """It steps through the middles as if they were in the grid; so they are put there."""
    t = torch.tensor(UNEVEN, dtype=torch.float64)
    log_snr = PATHS[schedule].schedule.log_snr(t)
    middles = PATHS[schedule].schedule.time_of_log_snr((log_snr[1:] + log_snr[:-1]) / 2)
    grid = torch.cat([t, middles]).sort().values.tolist()
    settings = {"solver_order": 2, "lower_order_final": False, "final_sigmas_type": "sigma_min"}
    found = diffusers("DPMSolverSinglestepScheduler", schedule, grid, algorithm_type="dpmsolver++", **settings)
    torch.testing.assert_close(ours(DPMpp2S(), schedule, UNEVEN), found, rtol=0, atol=1e-11)


@every_path
@pytest.mark.parametrize("order", [2, 3])
def test_unipc_of_diffusers(schedule, order):
    settings = {"solver_order": order, "solver_type": "bh2", "lower_order_final": False}
    found = diffusers("UniPCMultistepScheduler", schedule, UNEVEN, **settings)
    torch.testing.assert_close(ours(UniPC(order), schedule, UNEVEN), found, rtol=0, atol=1e-10)


@every_path
def test_unipc_2_of_diffusers_as_it_comes(schedule):
    """Its last step has order 1, as ours has at beta = 0."""
    found = diffusers("UniPCMultistepScheduler", schedule, [*UNEVEN, 1.0])
    torch.testing.assert_close(ours(UniPC(), schedule, [*UNEVEN, 1.0]), found, rtol=0, atol=1e-10)


@pytest.mark.parametrize("schedule", ["cosine", "vp"])
def test_ddim_of_diffusers(schedule):
    """Eight training steps, all of which are sampled, with our alphas squared; it ends at beta = 0."""
    schedulers = pytest.importorskip("diffusers.schedulers")
    settings = {"prediction_type": "sample", "clip_sample": False}
    scheduler = schedulers.DDIMScheduler(num_train_timesteps=len(UNEVEN), **settings)
    scheduler.set_timesteps(len(UNEVEN))
    alpha, _ = coefficients(schedule, UNEVEN)
    scheduler.alphas_cumprod = alpha.flip(0) ** 2
    oracle, x = mixture(schedule), noise()
    for t, index in zip(UNEVEN, scheduler.timesteps, strict=True):
        x = scheduler.step(oracle.denoise(x, t), int(index), x).prev_sample
    torch.testing.assert_close(ours(DDIM(), schedule, [*UNEVEN, 1.0]), x, rtol=0, atol=1e-11)


def azula(kind, schedule, steps, **settings):
    """A sampler of azula, whose time runs from noise at 1 to data at 0, on equal steps from 0.02 to 0.98."""
    sampling, denoising = pytest.importorskip("azula.sample"), pytest.importorskip("azula.denoise")
    oracle, path = mixture(schedule), PATHS[schedule]

    class Exact(denoising.Denoiser):
        def schedule(self, t):
            return path.schedule.alpha(1 - t), path.schedule.beta(1 - t)

        def forward(self, x, t):
            return denoising.DiracPosterior(mean=oracle.denoise(x, float(1 - t)))

    times = {"start": 0.98, "stop": 0.02, "steps": steps, "dtype": torch.float64, "silent": True}
    return getattr(sampling, kind)(Exact(), **times, **settings)(noise())


@every_path
@pytest.mark.parametrize(
    ("kind", "settings", "integrator"),
    [("DDIMSampler", {}, DDIM()), ("xEABSampler", {"order": 2}, ExponentialAdamsBashforth())],
    ids=["ddim", "eab"],
)
def test_samplers_of_azula(schedule, kind, settings, integrator):
    grid = torch.linspace(0.02, 0.98, 13, dtype=torch.float64)
    found = azula(kind, schedule, 12, **settings)
    torch.testing.assert_close(ours(integrator, schedule, grid), found, rtol=0, atol=1e-10)


@every_path
@pytest.mark.parametrize("order", [2, 3])
def test_the_weights_of_azulas_adams_bashforth(schedule, order):
    """In its variable, -lambda, x_s = (sigma_s / sigma_t) x_t - sigma_s sum_j c_j D_j, so w_j = -c_j / e^lambda_s."""
    sampler = pytest.importorskip("azula.sample").xEABSampler
    alpha, beta = coefficients(schedule, UNEVEN)
    log_ratio = (alpha.log() - beta.log()).tolist()
    for i in range(order - 1, len(UNEVEN) - 1):
        found = sampler._exponential_adams_bashforth(-torch.tensor(log_ratio, dtype=torch.float64), i=i, n=order)
        points = [log_ratio[i - j] - log_ratio[i] for j in range(order)]
        expected = interpolation(points, log_ratio[i + 1] - log_ratio[i])
        scaled = (-found.flip(0) * math.exp(-log_ratio[i + 1])).tolist()
        assert scaled == pytest.approx(expected, rel=1e-8)
