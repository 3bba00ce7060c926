"""Another schedule after training: the exact fields on one schedule, asked through another."""

import itertools

import pytest
import torch
from flowkit_gaussian.schedules import CondOT, Cosine, Shifted, VariancePreserving
from flowkit_gaussian.source import GaussianSource
from flowkit_guidance.classifier_free import ClassifierFreeGuidance
from flowkit_heads.heads import DataHead, NoiseHead, ScoreHead, VelocityHead, VHead
from flowkit_ode.euler import Euler
from flowkit_ode.grids import UniformGrid
from flowkit_ode.heun import Heun
from flowkit_ode.rk4 import RK4
from flowkit_sde.coefficients import BetaDiffusion
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import SCHEDULES, GaussianMixture, mixture, seeded
from schedules import PATH, SCHEDULE
from torch import nn

from flowkit import Model, Path, Pipeline, Quantity, Sampler, TimeGrid, UnsupportedError, log_prob, sample

inside = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
every_pair = pytest.mark.parametrize(("old", "new"), list(itertools.permutations(SCHEDULE, 2)))
FROM_NOISE_TO_DATA = ["condot", "cosine", "polynomial", "shifted"]  # alpha_0 = 0 and beta_1 = 0: they see every ratio


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def rescheduled(old, new, model=None):
    return PATH[old].reschedule(model or mixture(old), SCHEDULE[new])[0]


def states(t, new, n=1):
    """States of the size they have on the schedule."""
    alpha, beta_squared = (function(t) for function in SCHEDULES[new])
    return (alpha**2 + beta_squared).sqrt().reshape(-1, 1) * normal(len(t) * n, 2)


@every_pair
def test_the_fields_are_those_of_the_new_schedule(old, new):
    """Wherever the old schedule has the ratio of signal to noise. Rounding is magnified by 1 / beta, and once more
    for the score: 1e6 in all for `edm`.
    """
    ratio, ends = SCHEDULE[new].log_snr(inside), torch.tensor([0.0, 1.0], dtype=torch.float64)
    low, high = SCHEDULE[old].log_snr(ends)
    t = inside[(low < ratio) & (ratio < high)]
    assert len(t) > 4
    x, exact = states(t, new), mixture(new)
    wanted = tuple(Quantity)
    for found, expected in zip(
        rescheduled(old, new).predict(x, t, None, wanted), exact.predict(x, t, None, wanted), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(FROM_NOISE_TO_DATA, 2)))
@pytest.mark.parametrize("t", [0.0, 1e-9, 1 - 1e-9, 1.0])
def test_at_both_ends_too(old, new, t):
    x, exact, model = normal(5, 2), mixture(new), rescheduled(old, new)
    for wanted in (Quantity.DATA, Quantity.NOISE, Quantity.VELOCITY):
        (found,) = model.predict(x, t, None, (wanted,))
        torch.testing.assert_close(found, exact.predict(x, t, None, (wanted,))[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("old", SCHEDULE)
@pytest.mark.parametrize("new", ["condot", "vp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_it_is_finite_at_every_time_or_refused(old, new, dtype):
    model = Model(Linear(dtype), VelocityHead(), PATH[old])
    changed, _ = PATH[old].reschedule(model, SCHEDULE[new])
    refused = set()
    for t in (0.0, torch.finfo(dtype).eps, 1 - torch.finfo(dtype).eps, 1.0):
        for time in (t, torch.full((3,), t, dtype=dtype)):
            for wanted in Quantity:
                try:
                    (found,) = changed.predict(normal(3, 2).to(dtype), time, None, (wanted,))
                except UnsupportedError:
                    refused.add((t, wanted))
                    continue
                assert found.dtype == dtype
                assert found.isfinite().all(), (t, wanted)
    assert refused <= {(1.0, Quantity.SCORE), (1.0, Quantity.VELOCITY)}


def test_a_ratio_that_the_old_schedule_lacks_is_taken_at_its_end():
    """vp keeps 0.0066 of the data at t = 0, where condot has none: so near is the denoiser to its limit E[z]."""
    oracle, x = mixture("vp"), normal(5, 2)
    found = rescheduled("vp", "condot").denoise(x, 0.0)
    assert (found - oracle.mean).abs().max() < 0.1
    assert torch.equal(rescheduled("vp", "condot").predict(x, 0.0, None, (Quantity.NOISE,))[0], x)
    assert torch.equal(rescheduled("edm", "condot").denoise(x, 1.0), x)


@pytest.mark.parametrize("head", [VelocityHead(), DataHead(), NoiseHead(), ScoreHead(), VHead()], ids=type)
def test_any_head_will_do(head):
    class Perfect(nn.Module):
        def forward(self, x, t, y=None):
            return mixture("cosine").predict(x, t, y, head.quantities)[0]

    model, x, exact = Model(Perfect(), head, PATH["cosine"]), normal(25, 2), mixture("condot")
    found = rescheduled("cosine", "condot", model).predict(x, inside, None, (Quantity.VELOCITY, Quantity.SCORE))
    for value, quantity in zip(found, (Quantity.VELOCITY, Quantity.SCORE), strict=True):
        torch.testing.assert_close(value, exact.predict(x, inside, None, (quantity,))[0], rtol=1e-9, atol=1e-9)


def test_one_time_for_all_is_the_same_time_for_each_and_labels_pass_through():
    model, x, y = rescheduled("vp", "cosine"), normal(4, 2), torch.tensor([0, 1, 2, -1])
    found = model.velocity(x, 0.3, y)
    torch.testing.assert_close(found, model.velocity(x, torch.full((4,), 0.3, dtype=torch.float64), y))
    torch.testing.assert_close(found, mixture("cosine").velocity(x, 0.3, y), rtol=1e-9, atol=1e-9)


def test_inside_it_is_the_transformed_model_of_flow_matching():
    scheduler = pytest.importorskip("flow_matching.path.scheduler")
    wrapper = pytest.importorskip("flow_matching.utils").ModelWrapper

    class Theirs(wrapper):
        def forward(self, x, t, **extras):
            return mixture("condot").velocity(x, t)

    theirs = scheduler.ScheduleTransformedModel(
        Theirs(nn.Identity()), scheduler.CondOTScheduler(), scheduler.VPScheduler()
    )
    x, t = normal(25, 2), inside[:, None]
    torch.testing.assert_close(rescheduled("condot", "vp").velocity(x, inside), theirs(x, t), rtol=1e-6, atol=1e-6)


# Sampling.


class Linear(nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.inner = nn.Linear(2, 2, dtype=dtype)

    def forward(self, x, t, y=None):
        return self.inner(x)


def test_sampling_on_another_schedule_follows_the_path_of_that_schedule():
    """One Gaussian: the exact map is x_t = alpha m + sqrt(alpha^2 s^2 + beta^2) x_0; RK4 errs by about 200^-4."""
    oracle, x0 = GaussianMixture([[1.0, -2.0]], [0.5], [1.0], "condot"), normal(6, 2)
    sampler = Sampler(RK4(), UniformGrid(), steps=200, schedule=Cosine())
    states = sampler.trajectory(oracle, PATH["condot"], x0)
    for t, x in zip(torch.linspace(0, 1, 201, dtype=torch.float64), states, strict=True):
        alpha, beta_squared = (function(t) for function in SCHEDULES["cosine"])
        expected = alpha * oracle.means[0] + (alpha**2 * 0.25 + beta_squared).sqrt() * x0
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-6)
    assert torch.equal(x, sample(oracle, x0, integrator=RK4(), steps=200, path=PATH["condot"], schedule=Cosine()))


def test_the_start_the_grid_and_the_noise_are_those_of_the_new_schedule():
    class Seen(TimeGrid):
        def times(self, steps, path=None):
            self.path = path
            return torch.linspace(0, 0.9, steps + 1, dtype=torch.float64)

    grid, x0 = Seen(), normal(6, 2)
    sampler = Sampler(EulerMaruyama(), grid, steps=5, diffusion=BetaDiffusion(0.3), schedule=SCHEDULE["edm"])
    first, *_ = sampler.trajectory(mixture("condot"), PATH["condot"], x0, generator=seeded())
    torch.testing.assert_close(first, 80 * x0)
    assert grid.path.schedule is SCHEDULE["edm"]
    dynamics = sampler.dynamics(mixture("condot"), PATH["condot"])
    assert dynamics.path.schedule is SCHEDULE["edm"]
    assert dynamics.diffusion(0.0) == pytest.approx(24)


def test_guidance_is_applied_on_the_schedule_of_the_model():
    oracle, guidance, y = mixture("condot"), ClassifierFreeGuidance(3.0), torch.tensor([0, 1, 2])
    sampler = Sampler(Euler(), UniformGrid(), guidance=guidance, schedule=Cosine())
    x = normal(3, 2)
    found = sampler.dynamics(oracle, PATH["condot"], y).drift(x, 0.4)
    expected = rescheduled("condot", "cosine", guidance.guide(oracle)).velocity(x, 0.4, y)
    assert torch.equal(found, expected)
    torch.testing.assert_close(found, guidance.guide(mixture("cosine")).velocity(x, 0.4, y))  # and commutes with it


def test_what_is_not_determined_on_the_new_schedule_is_said_before_sampling():
    model = Model(Linear(), VelocityHead(), PATH["condot"])
    with pytest.raises(UnsupportedError, match="at t = 1: the velocity is not determined"):
        sample(model, normal(6, 2), integrator=Heun(), steps=5, schedule=VariancePreserving())
    assert sample(model, normal(6, 2), integrator=Euler(), steps=5, schedule=VariancePreserving()).isfinite().all()


def test_a_path_without_a_schedule_refuses_another():
    class Straight(Path):
        def sample(self, x0, z, t, generator=None): ...

        def velocity(self, x, x0, z, t): ...

    model = Model(Linear(), VelocityHead(), Straight())
    with pytest.raises(UnsupportedError, match="Straight has no schedule that could be changed"):
        sample(model, normal(6, 2), integrator=Euler(), steps=5, schedule=Cosine())


def test_a_density_does_not_depend_on_the_schedule_it_is_computed_on():
    oracle, x = GaussianMixture([[1.0, -2.0]], [0.5], [1.0], "condot"), normal(6, 2)
    model, path = PATH["condot"].reschedule(oracle, Cosine())
    source = GaussianSource()
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    found = log_prob(model, x, source=source, integrator=RK4(), times=times, path=path)
    torch.testing.assert_close(found, oracle.log_prob(x), rtol=1e-5, atol=1e-5)


def test_a_configured_schedule_samples_and_comes_back(tiny, tmp_path):
    pipeline = tiny.build().fit(tmp_path / "run")
    plain, same = pipeline.sample(64), pipeline.sample(64, schedule="condot", steps=4)
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-4)  # float32
    shifted = pipeline.sample(64, schedule={"name": "shifted", "shift": 2.0})
    assert not torch.allclose(shifted, plain, atol=1e-2)
    expected = pipeline.trajectory(64, schedule={"name": "shifted", "shift": 2.0})[-1]
    assert torch.equal(shifted, expected)
    stored = tiny.sampling(schedule={"name": "shifted", "schedule": "condot", "shift": 2.0}).build()
    assert stored.config["sampling"]["schedule"]["shift"] == 2.0
    assert isinstance(stored.fit(tmp_path / "stored").sampler.schedule, Shifted)
    again = Pipeline.load(tmp_path / "stored")
    assert isinstance(again.sampler.schedule.schedule, CondOT)
    assert torch.equal(again.sample(64), shifted)
    torch.testing.assert_close(again.log_prob(plain), pipeline.log_prob(plain), rtol=0.5, atol=0.5)  # 4 steps of Euler
