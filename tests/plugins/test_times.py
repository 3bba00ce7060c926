"""The times of training: their distributions, open interval and generator; importance sampling and its memory."""

import math
import signal

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_losses.cfm import ConditionalFlowMatching
from flowkit_losses.importance import ImportanceTime
from flowkit_losses.joint import JointMatching
from flowkit_losses.times import (
    CosMapTime,
    LogitNormalTime,
    LogNormalTime,
    LowDiscrepancyTime,
    ModeTime,
    UniformTime,
)
from oracles import LIMIT, errors_off, seeded

import flowkit as fk
from flowkit.training.checkpoint import latest_checkpoint

PATHS = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
CONDOT = PATHS["condot"]


def learned(bins=8):
    """An importance sampler that has seen a loss of 1 + 9 t in every bin."""
    time, t = ImportanceTime(bins=bins, uniform=0.1), torch.linspace(0.001, 0.999, 50 * bins)
    time.corrected(t, 1 + 9 * t)
    return time


EVERY = {
    "uniform": UniformTime(),
    "narrow": UniformTime(0.2, 0.5),
    "low_discrepancy": LowDiscrepancyTime(),
    "logit_normal": LogitNormalTime(0.5, 2.0),
    "log_normal": LogNormalTime(),
    "mode": ModeTime(),
    "mode_of_the_ends": ModeTime(-0.8),
    "cosmap": CosMapTime(),
    "importance": learned(),
}
every_time = pytest.mark.parametrize("name", EVERY)


def mode_cdf(scale):
    """The inverse of 1 - f_mode(u; s), equation 20 of Esser et al. 2024 in their time 1 - t."""

    def f_mode(u):
        return 1 - u - scale * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)

    def one(t):
        return scipy.optimize.brentq(lambda u: 1 - f_mode(u) - t, 0, 1)

    return np.vectorize(one)


CDF = {
    "uniform": scipy.stats.uniform.cdf,
    "narrow": scipy.stats.uniform(0.2, 0.3).cdf,
    "logit_normal": lambda t: scipy.stats.norm(0.5, 2.0).cdf(np.log(t / (1 - t))),
    "log_normal": lambda t: scipy.stats.norm(1.2, 1.2).cdf(np.log(t / (1 - t))),  # sigma = (1 - t) / t
    "mode": mode_cdf(1.29),
    "mode_of_the_ends": mode_cdf(-0.8),
    "cosmap": lambda t: 2 / math.pi * np.arctan(t / (1 - t)),
}


@pytest.mark.parametrize("name", CDF)
def test_times_have_their_distribution(name):
    t = EVERY[name].sample(20_000, seeded(), dtype=torch.float64, path=CONDOT).numpy()
    assert scipy.stats.kstest(t, CDF[name]).pvalue > 1e-4


@pytest.mark.parametrize("draw", [0.0, 1 - 2.0**-24])
@pytest.mark.parametrize("time", [*EVERY.values(), UniformTime(0.9), UniformTime(0.999)])
def test_the_smallest_and_the_largest_draw_leave_out_the_ends(monkeypatch, draw, time):
    """1 - 2^-24 is the largest number that torch.rand draws in float32; at t = 1 a score target is not finite."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **settings: torch.full(shape, draw))
    monkeypatch.setattr(torch, "randn", lambda *shape, **settings: torch.full(shape, 40 * (draw - 0.5)))
    t = time.sample(3, path=CONDOT)
    assert ((t > 0) & (t < 1)).all()


@every_time
def test_losses_count_as_they_are_unless_times_are_drawn_by_importance(name):
    t, loss = torch.rand(10, generator=seeded()), torch.rand(10, generator=seeded(1))
    assert (EVERY[name].corrected(t, loss) is loss) == (name != "importance")


def test_an_empty_range_of_times_is_refused():
    with pytest.raises(ValueError, match=r"low must be less than high = 0.5, got 0.5"):
        UniformTime(0.5, 0.5)


@pytest.mark.parametrize("scale", [-1.01, 1.76])
def test_a_scale_for_which_the_map_is_not_monotonic_is_refused(scale):
    with pytest.raises(fk.ConfigError, match="scale"):
        fk.create("time", "mode", scale=scale)


# Evenly spread.


def test_low_discrepancy_times_are_one_in_every_nth_and_each_uniform():
    generator = seeded()
    batches = torch.stack([LowDiscrepancyTime().sample(4, generator, dtype=torch.float64) for _ in range(3000)])
    assert ((batches.sort(1).values * 4).long() == torch.arange(4)).all()
    for one in batches.T:
        assert scipy.stats.kstest(one.numpy(), "uniform").pvalue > 1e-4


def test_low_discrepancy_times_make_the_mean_of_a_batch_vary_less():
    """The variance of the mean of t^2 over n = 64: that of independent times is 4/45/n, that of even ones O(1/n^2)."""

    def variance(time):
        generator = seeded()
        return float(torch.stack([time.sample(64, generator).square().mean() for _ in range(500)]).var())

    assert variance(UniformTime()) == pytest.approx(4 / 45 / 64, rel=5 * math.sqrt(2 / 500))
    assert variance(LowDiscrepancyTime()) < 1 / 64**2


# Noise levels.


@pytest.mark.parametrize("name", PATHS)
def test_log_normal_noise_levels_are_those_of_every_schedule(name):
    time, path = LogNormalTime(-1.2, 1.2), PATHS[name]
    t = time.sample(20_000, seeded(), dtype=torch.float64, path=path)
    log_sigma = path.schedule.beta(t).log() - path.schedule.alpha(t).log()
    assert scipy.stats.kstest(log_sigma.numpy(), scipy.stats.norm(-1.2, 1.2).cdf).pvalue > 1e-4


def test_noise_levels_need_a_schedule():
    with pytest.raises(fk.UnsupportedError, match="schedule"):
        LogNormalTime().sample(3)

    class Straight(fk.Path):
        def sample(self, x0, z, t, generator=None):
            return torch.lerp(x0, z, t[:, None])

        def velocity(self, x, x0, z, t):
            return z - x0

    assert LogNormalTime().problems(CONDOT) == UniformTime().problems(Straight()) == []
    assert "Straight has none" in LogNormalTime().problems(Straight())[0]


# Importance.


def test_times_are_uniform_until_every_bin_was_seen():
    time = ImportanceTime(bins=4)
    time.corrected(torch.tensor([0.1, 0.3, 0.6]), torch.tensor([1.0, 100.0, 1.0]))
    assert (time.density(torch.rand(100)) == 1).all()
    time.corrected(torch.tensor([0.9]), torch.tensor([1.0]))
    assert time.density(torch.tensor([0.3])) > 3


def test_a_loss_that_vanishes_everywhere_leaves_times_uniform():
    time = ImportanceTime(bins=4)
    counted = time.corrected(torch.tensor([0.1, 0.3, 0.6, 0.9]), torch.zeros(4))
    assert (counted == 0).all()
    assert (time.density(torch.rand(100)) == 1).all()


def test_the_density_follows_the_root_of_the_second_moment():
    """In each bin, but for the uniform share: the last losses, decayed, by hand."""
    time, t = ImportanceTime(bins=2, decay=0.5, uniform=0.2), torch.tensor([0.2, 0.3, 0.8])
    time.corrected(t, torch.tensor([1.0, 2.0, 3.0]))
    time.corrected(t[[0, 2]], torch.tensor([4.0, 1.0]))
    roots = [math.sqrt((0.5 * 5 + 16) / (0.5 * 2 + 1)), math.sqrt((0.5 * 9 + 1) / (0.5 * 1 + 1))]
    expected = [2 * (0.8 * root / sum(roots) + 0.1) for root in roots]
    assert time.density(torch.tensor([0.1, 0.9])).tolist() == pytest.approx(expected)


def test_times_are_drawn_from_the_density_that_corrects_them():
    time = learned(bins=8)
    t = time.sample(50_000, seeded())
    edges = torch.arange(9) / 8
    heights = torch.cat([torch.zeros(1), time.density(edges[:-1] + 1 / 16).cumsum(0) / 8])
    assert float(heights[-1]) == pytest.approx(1, abs=1e-6)
    assert heights.diff().max() > 3 * heights.diff().min()  # so the test is not one of uniformity
    cdf = np.interp(t.numpy(), edges.numpy(), heights.numpy())
    assert scipy.stats.kstest(cdf, "uniform").pvalue > 1e-4


def test_the_mean_stays_that_of_uniform_times_and_varies_less():
    """The loss is exp(8 t): its mean is (e^8 - 1)/8, and with p ~ exp(8 t) its corrected values would be constant."""
    time, generator = ImportanceTime(bins=100), seeded()
    for _ in range(20):
        t = time.sample(2000, generator)
        time.corrected(t, torch.exp(8 * t))
    t = time.sample(20_000, generator)
    corrected = time.corrected(t, torch.exp(8 * t)).double()
    assert errors_off(corrected, (math.exp(8) - 1) / 8) < LIMIT
    uniform = torch.exp(8 * torch.rand(20_000, generator=generator))
    assert corrected.std() < 0.05 * uniform.std()


def test_the_correction_has_no_gradient_of_its_own():
    time, t = learned(), torch.rand(5)
    weight = torch.ones(5, requires_grad=True)
    density = time.density(t)
    (gradient,) = torch.autograd.grad(time.corrected(t, weight * t).sum(), weight)
    torch.testing.assert_close(gradient, t / density)
    assert not any(value.requires_grad for value in time.state().values())


@pytest.mark.parametrize("loss", [ConditionalFlowMatching, JointMatching])
def test_a_loss_divides_by_the_density_and_tells_its_times_what_it_saw(loss):
    path, time = CONDOT, ImportanceTime(bins=4)
    head = fk.create("head", "joint")
    network = fk.create("network", "mlp", event_shape=(2,), outputs=2)
    model = fk.Model(network, head, path)
    x0, z = torch.randn(2, 512, 2, generator=seeded())
    plain, first = (loss(some)(model, x0, z, generator=seeded(1)) for some in (ImportanceTime(bins=4), time))
    assert torch.equal(plain, first)  # nothing was known yet
    assert time.state()["counts"].sum() == 512
    second = loss(time)(model, x0, z, generator=seeded(1))
    assert not torch.allclose(first, second)


def importance(lengths=40):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16, depth=2)
    builder = builder.loss("cfm", time={"name": "importance", "bins": 10})
    return builder.training(steps=lengths, batch_size=64, log_every=5, checkpoint_every=17)


def test_what_importance_sampling_has_learned_survives_an_interruption_to_the_bit(tmp_path):
    class Stop(fk.Callback):
        def logged(self, state):
            if state.step == 25:
                signal.raise_signal(signal.SIGINT)

    whole = importance().build().fit(tmp_path / "whole")
    with pytest.raises(fk.TrainingInterrupted):
        importance().build().fit(tmp_path / "parts", callbacks=[Stop()])
    resumed = importance().build().fit(tmp_path / "parts", resume=True)
    for folder in ("model", "random-0"):
        first, second = (latest_checkpoint(tmp_path / run).tensors(folder) for run in ("whole", "parts"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert {"loss/squares", "loss/counts"} <= first.keys()
    density = [pipeline.loss.time.density(torch.linspace(0.05, 0.95, 10)) for pipeline in (whole, resumed)]
    assert torch.equal(*density)
    assert (density[0] - 1).abs().max() > 0.1  # something was learned
