"""The same numbers as the peers, on the same inputs and the same noise, in float64.

Where a peer deviates, the test translates:

| peer | its own way | why it is fine, and what the test does |
|---|---|---|
| flow_matching | its conversions are NaN at the ends | it divides by alpha and sigma; compared inside (0, 1) |
| flow_matching | `ODESolver` takes a step size | the equidistant grid that it implies |
| torchcfm | a path of width sigma | 0 here |
| torchcfm | "variance preserving" | is the schedule `cosine`, not `vp` |
| azula | data at t = 0, noise at t = 1 | our t is its 1 - t |
| azula | alpha_min, sigma_min = 1e-3 at the ends | 0 here, which is our schedule |
| azula | VP with log alpha = t^2 log alpha_min | our rate with rate_min -> 0, rate_max = -4 log alpha_min |
| diffusers, flow | sigma = 1 - t, the model gives noise - data | our velocity, negative |
| diffusers, flow | sigmas and steps in float32 | its sigmas are the times; steps agree to their rounding |
| diffusers, DDPM | integer steps of a forward chain | the t at which alpha^2 is its `alphas_cumprod` |
| torchdiffeq | `rk4` is the 3/8 rule | also of order 4: agrees to a multiple of h^4 |
"""

import math

import pytest
import torch
from flowkit_exact import GaussianMixtureField
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_gaussian.source import GaussianSource
from flowkit_heads.heads import NoiseHead, VelocityHead
from flowkit_losses.cfm import ConditionalFlowMatching
from flowkit_losses.csm import ConditionalScoreMatching
from flowkit_ode.euler import Euler
from flowkit_ode.heun import Heun
from flowkit_ode.midpoint import Midpoint
from flowkit_ode.rk4 import RK4
from oracles import mixture, seeded
from torch import nn

import flowkit as fk
from flowkit import Quantity

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
PATHS = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
every_path = pytest.mark.parametrize("name", PATHS)
INSTALL = {
    "flow_matching": "pip install flow_matching",
    "torchdiffeq": "pip install torchdiffeq",
    "diffusers": "pip install diffusers",
    "torchcfm": "pip install --no-deps torchcfm (its dependency torchdyn is not needed)",
    "azula": "pip install --no-deps azula (its dependency torchvision is not needed)",
}


def peer(module):
    package = module.partition(".")[0]
    return pytest.importorskip(module, reason=f"compares with {package}: {INSTALL[package]}", exc_type=ImportError)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


X0, Z = normal(20, 3), normal(20, 3, seed=1)
T = torch.linspace(0.02, 0.98, 20, dtype=torch.float64)


def same(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **(TOLERANCE | tolerance))


class Small(nn.Module):
    """A network with random weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 3)).double()

    def forward(self, x, t, y=None):
        return self.layers(torch.cat([x, t[:, None]], dim=1))


class At(fk.TimeSampler):
    """Times that are given."""

    def __init__(self, t):
        self.t = t

    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        return self.t


# Paths, schedules, conversions.


def flow_matching_path(name):
    scheduler = peer("flow_matching.path.scheduler")
    schedules = {"condot": scheduler.CondOTScheduler, "cosine": scheduler.CosineScheduler, "vp": scheduler.VPScheduler}
    return peer("flow_matching.path").AffineProbPath(schedules[name]())


@every_path
def test_flow_matching_has_the_same_states_and_velocities(name):
    theirs = flow_matching_path(name).sample(x_0=X0, x_1=Z, t=T)
    x = PATHS[name].sample(X0, Z, T)
    same(x, theirs.x_t)
    same(PATHS[name].velocity(x, X0, Z, T), theirs.dx_t)


@every_path
def test_flow_matching_finds_the_same_time_for_a_signal_to_noise_ratio(name):
    """Theirs is alpha / beta, ours log(alpha^2 / beta^2)."""
    ratio = torch.linspace(0.1, 10, 20, dtype=torch.float64)
    same(PATHS[name].schedule.time_of_log_snr(2 * ratio.log()), flow_matching_path(name).scheduler.snr_inverse(ratio))


@every_path
def test_flow_matching_converts_alike(name):
    path, theirs, x, t = PATHS[name], flow_matching_path(name), normal(20, 3, seed=2), T[:, None]
    data, noise, velocity = Quantity.DATA, Quantity.NOISE, Quantity.VELOCITY
    same(path.convert(Z, x, T, data, velocity), theirs.target_to_velocity(x_1=Z, x_t=x, t=t))
    same(path.convert(Z, x, T, noise, velocity), theirs.epsilon_to_velocity(epsilon=Z, x_t=x, t=t))
    same(path.convert(Z, x, T, velocity, data), theirs.velocity_to_target(velocity=Z, x_t=x, t=t))
    same(path.convert(Z, x, T, velocity, noise), theirs.velocity_to_epsilon(velocity=Z, x_t=x, t=t))
    same(path.convert(Z, x, T, noise, data), theirs.epsilon_to_target(epsilon=Z, x_t=x, t=t))
    same(path.convert(Z, x, T, data, noise), theirs.target_to_epsilon(x_1=Z, x_t=x, t=t))


@pytest.mark.parametrize(
    ("name", "matcher"),
    [("condot", "ConditionalFlowMatcher"), ("cosine", "VariancePreservingConditionalFlowMatcher")],
)
def test_torchcfm_has_the_same_states_targets_and_loss(name, matcher):
    theirs = getattr(peer("torchcfm"), matcher)(sigma=0.0)
    _, x_t, u_t = theirs.sample_location_and_conditional_flow(X0, Z, t=T)
    x = PATHS[name].sample(X0, Z, T)
    same(x, x_t)
    same(PATHS[name].velocity(x, X0, Z, T), u_t)
    network = Small()
    loss = ConditionalFlowMatching(At(T))(fk.Model(network, VelocityHead(), PATHS[name]), X0, Z)
    same(loss.mean(), (network(x_t, T) - u_t).square().mean())


AZULA = {
    "condot": (CondOT(), "RectifiedSchedule", {"alpha_min": 0.0, "sigma_min": 0.0}),
    "cosine": (Cosine(), "CosineSchedule", {"alpha_min": 0.0, "sigma_min": 0.0}),
    "vp": (VariancePreserving(1e-12, -4 * math.log(0.01)), "VPSchedule", {"alpha_min": 0.01, "sigma_min": 0.0}),
}


@every_path
def test_azula_has_the_same_schedules_with_time_reversed(name):
    ours, theirs, settings = AZULA[name]
    alpha, sigma = getattr(peer("azula.noise"), theirs)(**settings)(1 - T)
    same(ours.alpha(T), alpha)
    same(ours.beta(T), sigma)


def test_azula_denoises_a_gaussian_alike():
    """Its closed form of one component against that of the mixture."""
    variances = torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64)
    covariance = peer("azula.linalg.covariance").DiagonalCovariance(variances[0])
    schedule = peer("azula.noise").CosineSchedule(alpha_min=0.0, sigma_min=0.0)
    theirs = peer("azula.denoise").GaussianDenoiser(Z[0], covariance, schedule)
    field = GaussianMixtureField(PATHS["cosine"], Z[:1], variances)
    for t in (0.1, 0.5, 0.9):
        same(field.denoise(X0, t), theirs(X0, torch.tensor(1 - t, dtype=torch.float64)).mean)


def test_the_flow_scheduler_of_diffusers_has_the_same_states_and_steps_of_euler():
    scheduler = peer("diffusers").FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(20)
    times = 1 - scheduler.sigmas.double()
    same(PATHS["condot"].sample(X0, Z, times[:-1]), scheduler.scale_noise(Z, scheduler.timesteps, X0))
    field, x, state = GaussianMixtureField(PATHS["condot"], Z, torch.ones(20)), X0, X0
    for t, time in zip(scheduler.timesteps, times[:-1].tolist(), strict=True):
        state = scheduler.step(-field.velocity(state, time), t, state).prev_sample
    x = fk.sample(field, X0, integrator=Euler(), times=times)
    same(x, state, rtol=0, atol=20 * 4 * torch.finfo(torch.float32).eps)  # rounded in each of 20 steps, sizes up to 4


@pytest.mark.parametrize("name", ["cosine", "vp"])
def test_ddpm_of_diffusers_has_the_same_states_v_and_noise_loss(name):
    """Both schedules keep alpha^2 + beta^2 = 1, so equal ratios are equal alpha and beta."""
    scheduler, path, step = peer("diffusers").DDPMScheduler(), PATHS[name], torch.arange(10, 910, 45)
    signal = scheduler.alphas_cumprod.double()[step]
    t = path.schedule.time_of_log_snr((signal / (1 - signal)).log())
    x = path.sample(X0, Z, t)
    same(x, scheduler.add_noise(Z, X0, step))
    same(path.convert(Z, x, t, Quantity.DATA, Quantity.V), scheduler.get_velocity(Z, X0, step))
    network = Small()
    loss = ConditionalScoreMatching(At(t))(fk.Model(network, NoiseHead(), path), X0, Z)
    same(loss.mean(), (network(scheduler.add_noise(Z, X0, step), t) - X0).square().mean())


# Integrators and likelihood, on the exact field of a mixture.


def field():
    oracle = mixture("cosine")
    return GaussianMixtureField(PATHS["cosine"], oracle.means, oracle.stds.square(), oracle.weights)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Euler(), "euler"), (Midpoint(), "midpoint"), (Heun(), "heun2")],
    ids=["euler", "midpoint", "heun"],
)
@pytest.mark.parametrize("times", [(0.0, 1.0), (1.0, 0.0)], ids=["forwards", "backwards"])
def test_torchdiffeq_takes_the_same_steps(ours, theirs, times):
    grid = torch.linspace(*times, 21, dtype=torch.float64)
    states = torch.stack(list(ours.trajectory(fk.ODE(field()), normal(20, 2), grid)))
    same(states, peer("torchdiffeq").odeint(lambda t, x: field().velocity(x, t), normal(20, 2), grid, method=theirs))


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_torchdiffeq_has_the_same_solution(method):
    """With h = 1/100 two methods of order 4 differ by a multiple of 1e-8."""
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    odeint = peer("torchdiffeq").odeint
    theirs = odeint(lambda t, x: field().velocity(x, t), normal(20, 2), grid, method=method, rtol=1e-9, atol=1e-9)[-1]
    same(fk.sample(field(), normal(20, 2), integrator=RK4(), steps=100), theirs)


@pytest.mark.parametrize(("ours", "theirs"), [(Euler(), "euler"), (Midpoint(), "midpoint")], ids=["euler", "midpoint"])
def test_flow_matching_samples_alike(ours, theirs):
    solver = peer("flow_matching.solver").ODESolver(velocity_model=lambda x, t: field().velocity(x, t))
    grid = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x = solver.sample(normal(20, 2), step_size=1 / 20, method=theirs, time_grid=grid)
    same(fk.sample(field(), normal(20, 2), integrator=ours, steps=20), x)


@pytest.mark.parametrize(("ours", "theirs"), [(Euler(), "euler"), (Midpoint(), "midpoint")], ids=["euler", "midpoint"])
def test_flow_matching_has_the_same_likelihood(ours, theirs):
    solver = peer("flow_matching.solver").ODESolver(velocity_model=lambda x, t: field().velocity(x, t))
    _, log_prob = solver.compute_likelihood(
        normal(20, 2),
        GaussianSource().log_prob,
        step_size=1 / 20,
        method=theirs,
        exact_divergence=True,
        time_grid=torch.tensor([1.0, 0.0], dtype=torch.float64),
    )
    times = torch.linspace(0, 1, 21, dtype=torch.float64)
    same(fk.log_prob(field(), normal(20, 2), source=GaussianSource(), integrator=ours, times=times), log_prob)
