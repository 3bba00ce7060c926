"""Memory that is full: samples are drawn in smaller batches, and are the same; training says what to change."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import flowkit as fk
from flowkit.pipeline.draws import Draws
from flowkit.pipeline.memory import FittingBatches
from flowkit.training.checkpoint import latest_checkpoint

N = 1500


class Limited(nn.Module):
    """A network, elementwise, for which memory is full beyond a number of samples, or from a step on."""

    def __init__(self, steps=10**9):
        super().__init__()
        self.weight, self.most, self.steps, self.sizes = nn.Parameter(torch.tensor(0.5)), 10**9, steps, []

    def forward(self, x, t, y=None):
        if torch.is_grad_enabled():
            self.steps -= 1
        self.sizes.append(len(x))
        if len(x) > self.most or self.steps < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 0 bytes free.")
        return self.weight * x - t[:, None]


def limited(most=10**9):
    """A pipeline that samples 512 at once, of which so many fit."""
    builder = fk.Pipeline.builder().data("moons", labels=True).network(network := Limited())
    pipeline = builder.sampling("euler_maruyama", steps=4, batch_size=512).build()
    network.most, network.sizes = most, []
    return pipeline, network


@pytest.fixture(scope="module")
def expected():
    return limited()[0].sample(N, seed=3)


@pytest.mark.parametrize(
    ("n", "most", "fitting"), [(N, 512, 512), (N, 300, 256), (N, 256, 256), (N, 100, 64), (600, 1, 1)]
)
def test_samples_are_those_of_a_memory_that_is_large_enough(n, most, fitting, expected):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        x = limited(most)[0].sample(n, seed=3)
    assert torch.equal(x, expected[:n])
    advice = [str(warning.message) for warning in told if warning.category is fk.FlowkitWarning]
    assert len(advice) == (fitting < 512)
    assert all(f"512 samples at once do not fit in memory, {fitting} do" in text for text in advice)


def test_what_the_advice_names_is_done_and_fits():
    pipeline, network = limited(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.sample(N, batch_size=64)
    assert max(network.sizes) == 64


def test_a_size_that_does_not_fit_is_not_tried_again_and_costs_nothing_of_what_is_counted():
    (pipeline, network), cost = limited(100), fk.Cost()
    with pytest.warns(fk.FlowkitWarning, match=r"set sampling.batch_size=64"):
        pipeline.sample(512, cost=cost)
    assert network.sizes == [512, 256, 128, *[64] * 8 * 4]
    assert (cost.batches, cost.evaluations) == (8, 8 * 4)


@pytest.mark.parametrize("draw", ["sample", "trajectory"])
def test_what_does_not_fit_one_by_one_is_an_error(draw):
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        getattr(limited(0)[0], draw)(10)


def test_other_errors_come_up_at_once():
    calls = []

    def work(start, count):
        calls.append(count)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(FittingBatches(8).over(range(8), work))
    assert calls == [8]


def test_the_failed_attempt_is_let_go_of_before_the_next():
    class Activation:
        alive = 0

        def __init__(self):
            type(self).alive += 1

        def __del__(self):
            type(self).alive -= 1

    def work(start, count):
        assert Activation.alive == 0
        made = Activation()  # noqa: F841
        if count > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")  # its traceback holds what was made
        return count

    with pytest.warns(fk.FlowkitWarning, match="5 samples at once do not fit in memory, 2 do"):
        assert list(FittingBatches(8).over(range(3, 8), work)) == [(3, 2), (5, 2), (7, 1)]


def test_trajectories_and_densities_too(expected):
    (whole, _), (little, _) = limited(), limited(100)
    with pytest.warns(fk.FlowkitWarning, match="do not fit"):
        trajectory = little.trajectory(N, seed=3)
    assert torch.equal(trajectory[-1], expected)
    x, arguments = expected[:500], {"integrator": "heun", "y": 0, "divergence": fk.Hutchinson(2)}
    with pytest.warns(fk.FlowkitWarning, match="do not fit"):
        found = little.log_prob(x, **arguments)
    # Rounding alone: the sums over two coordinates and two probes may be added up in another order.
    torch.testing.assert_close(found, whole.log_prob(x, **arguments), rtol=1e-5, atol=1e-5)


def test_a_file_is_the_same_and_goes_on_after_a_crash_the_same(expected, tmp_path, monkeypatch):
    file, batch, drawn = tmp_path / "x.npy", Draws.batch, []

    def crashing(self, start, count):
        if start >= 1024 and not drawn:
            drawn.append(start)
            raise ZeroDivisionError
        return batch(self, start, count)

    monkeypatch.setattr(Draws, "batch", crashing)
    with pytest.raises(ZeroDivisionError), pytest.warns(fk.FlowkitWarning, match="64 do"):
        limited(100)[0].sample_to(file, N, seed=3)
    pipeline, network = limited(100)
    with pytest.warns(fk.FlowkitWarning, match="59 do"):  # the last part has 476 samples
        pipeline.sample_to(file, N, seed=3)
    assert network.sizes.count(476) == 1
    assert 512 not in network.sizes  # the first two parts were there
    assert np.array_equal(np.load(file), expected)


def test_small_batches_share_a_part(tmp_path, monkeypatch):
    saved, whole = [], limited()[0].sample(600, batch_size=512)
    from flowkit.pipeline import stream

    monkeypatch.setattr(
        stream,
        "save_tensors",
        lambda tensors, file, save=stream.save_tensors: (saved.append(file), save(tensors, file)),
    )
    limited()[0].sample_to(tmp_path / "x.npy", 600, batch_size=100)
    assert [int(file.stem.partition("-")[0]) for file in saved] == [0, 300]
    assert np.array_equal(np.load(tmp_path / "x.npy"), whole)


# Training.


@pytest.mark.parametrize(
    ("steps", "kept"), [(5, "no checkpoint yet"), (15, "the last checkpoint, .*000010, can go on")]
)
def test_a_step_that_does_not_fit_ends_training_in_words(tiny, tmp_path, steps, kept):
    network = Limited(steps=steps)
    with pytest.raises(
        fk.TrainingError, match=rf"step {steps + 1} does not fit in memory.*training\.accumulate.*{kept}"
    ):
        tiny.network(network).build().fit(tmp_path / "run")
    assert network.weight.grad is None


def test_a_step_that_does_not_fit_fits_in_pieces_and_goes_on_from_the_checkpoint(tiny, tmp_path):
    class Filling(fk.Callback):
        def logged(self, state):
            if state.step == 15:
                state.model.network.most = 20  # of the 32 of a batch

    with pytest.raises(fk.TrainingError, match=r"training\.accumulate \(now 1\)"):
        tiny.network(Limited()).build().fit(tmp_path / "run", callbacks=[Filling()])
    assert latest_checkpoint(tmp_path / "run").step == 10
    network = Limited()
    pipeline = tiny.network(network).training(accumulate=2).build()
    network.most = 20
    pipeline.fit(tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])["step"] == 20
