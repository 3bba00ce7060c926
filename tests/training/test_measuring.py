"""`evaluation.every`: metrics amid training."""

import json
import time
from functools import partial

import pytest
import torch
from PIL import Image
from torch import nn

import flowkit as fk
from flowkit import pictures
from flowkit.pipeline.run import RunFolder
from flowkit.training.checkpoint import latest_checkpoint


def weights(pipeline):
    return torch.cat([p.detach().flatten() for p in pipeline.model.parameters()])


def seen(folder):
    return {
        line["step"]: line["metrics"]["2-Wasserstein"]["value"] for line in RunFolder(folder).log() if "metrics" in line
    }


@pytest.mark.parametrize("backend", [None, "eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_the_averages_are_measured_and_training_ends_with_the_same_bits(tiny, tmp_path, monkeypatch, backend):
    """Of a network as it is, of one that is traced, and of one that is compiled, which takes seconds."""
    tiny.sampling("euler", compile=backend is not None)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = weights(tiny.build().fit(tmp_path / "plain"))
    assert torch.equal(weights(tiny.evaluation(every=10).build().fit(tmp_path / "run")), plain)
    assert list(seen(tmp_path / "run")) == [10, 20]
    for step, value in seen(tmp_path / "run").items():
        (expected,) = fk.Pipeline.load(tmp_path / "run", step=step).evaluate()
        assert value == pytest.approx(expected.value, rel=1e-5)


def test_a_run_that_goes_on_keeps_what_was_measured_before(tiny, tmp_path):
    tiny.evaluation(every=5).build().fit(tmp_path / "run")
    before = seen(tmp_path / "run")
    tiny.training(steps=30).evaluation(every=10).build().fit(tmp_path / "run", resume=True)
    after = seen(tmp_path / "run")
    assert list(after) == [5, 10, 15, 20, 30]
    assert {step: after[step] for step in before} == before


def test_a_callback_ends_training_by_a_metric(tiny, tmp_path):
    class GoodEnough(fk.Callback):
        def evaluated(self, state):
            (one,) = state.evaluations
            if one.ratio < 1e6:
                state.stop(f"{one.metric} is {one.value:.2f}")

    tiny.evaluation(every=7).build().fit(tmp_path / "run", callbacks=[GoodEnough()])
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 7
    assert last["because"].startswith("2-Wasserstein is ")


def test_time_that_measuring_takes_is_none_of_the_steps(tiny, tmp_path, monkeypatch):
    hours = [0.0]
    clock = time.perf_counter
    monkeypatch.setattr("flowkit.training.pace.time.perf_counter", lambda: clock() + 3600 * hours[0])

    def measure(self):
        hours[0] += 1
        return []

    monkeypatch.setattr(fk.Pipeline, "evaluate", measure)
    tiny.evaluation(every=5).training(log_every=10).build().fit(tmp_path / "run")
    assert hours == [4]
    assert all(line["steps_per_second"] > 10 / 3600 for line in RunFolder(tmp_path / "run").metrics())


def test_what_was_measured_stands_beside_the_loss(tiny, tmp_path):
    tiny.build().fit(tmp_path / "plain")
    tiny.evaluation(every=5).build().fit(tmp_path / "run")
    widths = []
    for name in ("plain", "run"):
        pictures.draw_loss(RunFolder(tmp_path / name), tmp_path / "loss.png")
        with Image.open(tmp_path / "loss.png") as drawn:
            widths.append(drawn.width)
    assert widths[1] > 1.5 * widths[0]


def test_the_progress_bar_tells_of_what_was_measured(tiny, tmp_path, capsys):
    tiny.evaluation(every=10).build().fit(tmp_path / "run", callbacks=[fk.ProgressBar()])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("step 10/20  2-Wasserstein ", "step 20/20  2-Wasserstein ")) for line in lines) == 2


class Noisy(nn.Module):
    """A network that draws from torch's global generator in training, and tells whether it trains."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x, t, y=None):
        return self.layers(torch.cat([x, t[:, None].to(x.dtype)], dim=1))


class Drawing(fk.Metric):
    """A metric that draws from torch's global generator, and may fail."""

    label = "drawing"

    def __init__(self, fails=False):
        self.fails = fails

    def measure(self, samples, data):
        torch.rand(1)
        if self.fails:
            raise ValueError("no such thing")
        return 1.0


def noisy(tiny):
    torch.manual_seed(0)
    return tiny.network(Noisy())


def test_what_metrics_and_callbacks_draw_is_not_missing_from_the_network(tiny, tmp_path):
    class Look(fk.Callback):
        def evaluated(self, state):
            self.trains = state.model.training
            torch.rand(3)

    plain = weights(noisy(tiny).build().fit(tmp_path / "plain"))
    look = Look()
    builder = noisy(tiny).evaluation(metrics=[Drawing()], every=5)
    assert torch.equal(weights(builder.build().fit(tmp_path / "run", callbacks=[look])), plain)
    assert look.trains is False


def test_a_metric_that_fails_ends_training_after_the_step_is_saved(tiny, tmp_path):
    builder = tiny.evaluation(metrics=[Drawing(fails=True)], every=7)
    with pytest.raises(ValueError, match="no such thing"):
        builder.build().fit(tmp_path / "run")
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint.step == 7
    (run,) = fk.list_runs(tmp_path)
    assert (run.state, run.what) == ("failed", "ValueError: no such thing")
    assert not torch.equal(*(checkpoint.tensors(name)["network.layers.0.weight"] for name in ("model", "ema")))


def test_measuring_without_metrics_is_refused(tiny):
    with pytest.raises(fk.ConfigError, match=r"evaluation\.every: is 5, and there are no metrics: set it to null"):
        tiny.evaluation(metrics=[], every=5).build()
