"""`flowkit profile` finds what is slow, says what it costs, and leaves no trace."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.autograd import DeviceType
from typer.testing import CliRunner

import flowkit as fk
from flowkit.cli.main import app
from flowkit.profiling import training
from flowkit.profiling.picture import draw_profile
from flowkit.profiling.profile import Operator, Part, Profile, _operators
from flowkit.profiling.ranges import PREFIX, STEP, self_seconds
from flowkit.training.batches import Batches
from flowkit.training.trainer import Trainer
from flowkit.training.update import FusedUpdate

DELAY = 0.01
"""Seconds, many times what a step of the pipeline `tiny` takes."""
TRAINING = ["data", "source", "coupling", "path and loss", "network", "backward", "clip and optimizer", "average (EMA)"]


def part(profile, name):
    (found,) = [part for part in profile.parts if part.name == name]
    return found


def weights(pipeline):
    return torch.cat([value.flatten().double() for value in pipeline.model.state_dict().values()])


# what ranges add up to


def test_a_part_within_a_part_counts_once_and_what_lies_in_none_is_the_rest():
    ranges = [
        (f"{STEP}#7", 0, 100),
        (f"{PREFIX}loss", 10, 60),
        (f"{PREFIX}network", 20, 50),
        (f"{PREFIX}clip", 60, 70),
        (f"{STEP}#8", 100, 150),
        (f"{PREFIX}clip", 100, 110),
        (f"{PREFIX}clip", 140, 150),
    ]
    first, second = self_seconds(reversed(ranges))
    assert {name: round(1e6 * value) for name, value in first.items()} == {
        "rest": 40,
        "loss": 20,
        "network": 30,
        "clip": 10,
    }
    assert {name: round(1e6 * value) for name, value in second.items()} == {"rest": 30, "clip": 20}


def test_what_lies_in_no_step_does_not_count():
    assert self_seconds([(f"{PREFIX}data", 0, 9), (f"{STEP}#1", 10, 20), (f"{PREFIX}data", 30, 40)]) == [
        {"rest": pytest.approx(1e-5)}
    ]


# training


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A profile of five steps, and the folder with its files."""
    folder = tmp_path_factory.mktemp("profile")
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16, depth=2).training(steps=20, batch_size=32)
    return fk.profile(builder.build(), steps=5, folder=folder), folder


def test_a_step_is_divided_into_its_parts(profiled):
    profile, _ = profiled
    assert [part.name for part in profile.parts] == [*TRAINING, "rest"]
    assert sum(part.share for part in profile.parts) == pytest.approx(1)
    assert all(part.seconds > 0 for part in profile.parts)
    assert profile.count == 5
    assert profile.memory > 2**20
    assert profile.slowdown == profile.profiled_seconds / profile.seconds


def test_operators_are_those_of_the_step_with_their_calls(profiled):
    profile, _ = profiled
    calls = {operator.name: operator.calls for operator in profile.operators}
    assert calls["aten::addmm"] == 3  # the layers of a network of depth 2
    seconds = [operator.seconds for operator in profile.operators]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) < 5 * profile.profiled_seconds  # own times: a mean, which one slow step may raise
    assert not any(name.startswith((PREFIX, STEP)) for name in calls)


def test_the_time_of_a_kernel_counts_once_as_that_of_its_operator():
    def event(key, device, microseconds):
        return SimpleNamespace(key=key, device_type=device, count=2, self_device_time_total=microseconds)

    seen = [event("aten::mm", DeviceType.CPU, 30.0), event("sm90_xmma_gemm", DeviceType.CUDA, 30.0)]
    profiler = SimpleNamespace(key_averages=lambda: seen)
    assert _operators(profiler, 2, on_device=True) == (Operator("aten::mm", pytest.approx(15e-6), 1.0),)


def test_the_trace_holds_the_ranges_and_the_picture_is_one(profiled):
    _, folder = profiled
    names = [event.get("name") for event in json.loads((folder / "trace.json").read_text())["traceEvents"]]
    assert names.count(f"{PREFIX}backward") >= 5
    with Image.open(folder / "profile.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(100_000)) > 50


def slept(call):
    """The same function, after a while."""

    def sleeping(*arguments, **settings):
        time.sleep(DELAY)
        return call(*arguments, **settings)

    return sleeping


class SlowNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, t, y=None):
        time.sleep(DELAY)
        return self.layer(torch.cat([x, t[:, None]], 1))


@pytest.mark.parametrize(
    "slow", ["data", "source", "coupling", "path and loss", "network", "clip and optimizer", "rest"]
)
def test_the_part_that_sleeps_is_the_part_that_is_slow(slow, tiny, monkeypatch):
    if slow == "network":
        tiny.network(SlowNetwork())
    pipeline = tiny.build()
    if slow == "data":
        monkeypatch.setattr(Batches, "__next__", slept(Batches.__next__))
    if slow == "source":
        pipeline.source.sample = slept(pipeline.source.sample)
    if slow == "coupling":
        pipeline.coupling.pair = slept(pipeline.coupling.pair)
    if slow == "path and loss":
        pipeline.path.velocity = slept(pipeline.path.velocity)
    if slow == "clip and optimizer":
        monkeypatch.setattr(FusedUpdate, "__call__", slept(FusedUpdate.__call__))
    if slow == "rest":
        monkeypatch.setattr(Trainer, "_learning_rate", slept(Trainer._learning_rate))
    profile = fk.profile(pipeline, steps=3)
    assert max(profile.parts, key=lambda part: part.seconds).name == slow
    assert part(profile, slow).seconds >= DELAY
    assert profile.seconds >= DELAY


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU no thread prepares pairs")
def test_pairs_that_a_thread_prepares_are_waited_for(tiny):
    pipeline = tiny.coupling("ot").build()
    pipeline.source.sample = slept(pipeline.source.sample)  # in the thread
    profile = fk.profile(pipeline, steps=2)
    assert part(profile, "coupling").seconds >= DELAY / 2
    assert {"data", "source"}.isdisjoint(part.name for part in profile.parts)


def test_mixed_precision_is_profiled_too(tiny):
    profile = fk.profile(tiny.training(mixed_precision="bf16").build(), steps=2)
    assert {*TRAINING} <= {part.name for part in profile.parts}


def test_steps_are_timed_without_the_profiler_before_and_after(tiny):
    pipeline, seen = tiny.build(), []
    pair = pipeline.coupling.pair

    def watched(*arguments):
        seen.append(torch.autograd._profiler_enabled())
        return pair(*arguments)

    pipeline.coupling.pair = watched
    fk.profile(pipeline, steps=4)
    without = training._UNWATCHED + 4
    assert seen == [False] * (without + training._WARM_UP) + [True] * 4 + [False] * 4


def test_the_pipeline_is_as_it_was_and_trains_as_if_nothing_had_been(tiny, tmp_path):
    pipeline, other = tiny.build(), tiny.build()
    before, state = weights(pipeline), torch.get_rng_state()
    fk.profile(pipeline, steps=2)
    assert torch.equal(weights(pipeline), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not pipeline.model.network._forward_hooks
    assert not pipeline.model.network._forward_pre_hooks
    pipeline.fit(tmp_path / "a")
    other.fit(tmp_path / "b")
    assert torch.equal(weights(pipeline), weights(other))
    samples = pipeline.sample(10)
    fk.profile(pipeline, steps=2)
    fk.profile_sampling(pipeline, batches=1)
    assert torch.equal(pipeline.sample(10), samples)


def test_a_failure_leaves_no_marks_behind(tiny, monkeypatch):
    pipeline, before = tiny.build(), FusedUpdate.__call__
    calls = []

    def failing(self, *arguments):
        calls.append(torch.autograd._profiler_enabled())
        if calls[-1]:
            raise ValueError("out of order")
        return before(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(FusedUpdate, "__call__", failing)
        with pytest.raises(ValueError, match="out of order"):
            fk.profile(pipeline, steps=4)
    assert not pipeline.model.network._forward_hooks
    assert all(parameter.grad is None for parameter in pipeline.model.parameters())
    assert fk.profile(pipeline, steps=2).count == 2


@pytest.mark.parametrize("compiles", [False, True, "auto"])
def test_it_says_that_it_looks_at_steps_that_are_not_compiled(tiny, compiles):
    profile = fk.profile(tiny.training(compile=compiles).build(), steps=2)
    without = f" without training.compile={str(compiles).lower()}" if compiles else ""
    assert str(profile).startswith(f"a training step{without} on cpu")


def test_ctrl_c_stops_it_and_speaks_of_no_checkpoint(tiny):
    pipeline = tiny.build()
    pair = pipeline.coupling.pair

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return pair(*arguments)

    pipeline.coupling.pair = interrupted
    with pytest.raises(fk.TrainingInterrupted, match="before the profile was complete") as caught:
        fk.profile(pipeline, steps=2)
    assert caught.value.exit_code == 130


def test_what_cannot_be_profiled_is_refused(tiny, monkeypatch):
    pipeline = tiny.build()
    with pytest.raises(fk.ConfigError, match="steps should be a whole number of at least 1; got 0"):
        fk.profile(pipeline, steps=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(fk.ConfigError, match="profile one process"):
        fk.profile(pipeline, steps=2)


# sampling


@pytest.mark.parametrize(
    "settings",
    [
        {"integrator": "heun"},
        {"integrator": "dopri5"},
        {"integrator": "dpmpp_2m", "grid": {"name": "uniform"}},
        {"integrator": "euler_maruyama", "diffusion": "constant"},
        {"integrator": "heun", "schedule": "cosine"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_evaluations_are_counted_and_the_model_is_told_from_the_integrator(settings, tiny):
    pipeline, cost = tiny.sampling(batch_size=256, **settings).build(), fk.Cost()
    pipeline.sample(256, cost=cost)
    profile = fk.profile_sampling(pipeline, batches=1)
    assert [part.name for part in profile.parts] == ["source", "model", "integrator", "rest"]
    assert profile.evaluations == cost.evaluations
    assert profile.what == "a batch of 256 samples"
    assert sum(part.share for part in profile.parts) == pytest.approx(1)


def test_a_slow_network_shows_as_the_model(tiny):
    profile = fk.profile_sampling(tiny.network(SlowNetwork()).sampling(batch_size=256).build(), batches=1)
    assert part(profile, "model").seconds >= 4 * DELAY  # four steps of Euler
    assert part(profile, "model").share > 0.5


def test_guidance_is_a_part_and_everything_is_put_back(tiny):
    builder = tiny.data("moons", labels=True).training(condition_dropout=0.1)
    pipeline = builder.sampling(batch_size=256, guidance="classifier_free").build()
    sampler, source = pipeline.sampler, pipeline.source
    profile = fk.profile_sampling(pipeline, batches=1)
    assert [part.name for part in profile.parts] == ["source", "model", "guidance", "integrator", "rest"]
    assert pipeline.sampler is sampler
    assert pipeline.source is source
    assert "predict" not in vars(pipeline.model)


# what is said of it


def made(**changes):
    parts = (Part("network", 0.003, 0.75), Part("rest", 0.001, 0.25))
    operators = (Operator("aten::" + "x" * 80, 0.2, 3.0),)
    facts = {"what": "a training step", "count": 5, "seconds": 0.004, "profiled_seconds": 0.005, "device": "cpu"}
    return Profile(**facts | {"parts": parts, "operators": operators, "threads": 2} | changes)


def test_the_table_says_what_the_profiler_costs():
    text = str(made(memory=2**24, evaluations=7.0))
    assert "a training step on cpu, 2 threads: 4 ms, 250 a second" in text
    assert "with the profiler 5 ms (+25%)" in text
    assert "7 evaluations of the model" in text
    assert "16 MiB" in text
    assert "costs less than these times scatter" in str(made(profiled_seconds=0.0039))
    assert max(map(len, text.splitlines())) < 120


def test_a_picture_can_be_drawn_of_few_parts_and_long_names(tmp_path):
    assert draw_profile(made(), tmp_path / "profile.png").stat().st_size > 5000


@pytest.mark.parametrize(("options", "words"), [([], "backward"), (["--sampling"], "integrator")])
def test_the_command_prints_the_table_and_says_where_the_files_are(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ["network.width=16", "training.batch_size=32", "sampling.batch_size=256", "sampling.steps=2"]
    result = CliRunner().invoke(app, ["profile", "moons", *changes, "--steps", "1", *options])
    assert result.exit_code == 0, result.output
    assert words in result.stdout
    for file in ("profiles/moons/profile.png", "profiles/moons/trace.json"):
        assert file in result.stdout
        assert (tmp_path / file).is_file()
    assert not (tmp_path / "runs").exists()
