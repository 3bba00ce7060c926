"""Checkpoints: whole or not there, verified, and written beside training."""

import json
import multiprocessing
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import killed_run
import pytest
import torch

import flowkit as fk
from flowkit.pipeline.runs import list_runs
from flowkit.training import checkpoint, writer
from flowkit.training.checkpoint import latest_checkpoint, save_checkpoint, usable_checkpoint
from flowkit.training.writer import CheckpointWriter


@pytest.fixture
def run(tiny, tmp_path):
    """A run with checkpoints at steps 10 and 20."""
    tiny.build().fit(tmp_path / "run")
    return tmp_path / "run"


def flip(file):
    """Turn over one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_another_run(file):
    """Put a file in its place that is sound, and another's."""
    save_checkpoint(file.parents[2] / "other", 20, {"ema": {"w": torch.ones(2)}}, {}, keep=1)
    shutil.copy(file.parents[2] / "other/checkpoints/step-00000020" / file.name, file)


FILES = ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "random-0.safetensors", "state.json"]


@pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
@pytest.mark.parametrize("damage", [flip, cut, lambda file: file.unlink()], ids=["flipped", "cut", "missing"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run, name, damage):
    damage(run / "checkpoints/step-00000020" / name)
    # A wrong checksum is blamed on the file that it is of.
    blamed = "" if (name, damage) == ("SHA256SUMS", flip) else name
    with pytest.warns(fk.FlowkitWarning, match=rf"step-00000020.*{blamed}.*step-00000010 is used instead"):
        checkpoint = usable_checkpoint(run)
    assert checkpoint.step == 10


def test_a_file_of_another_checkpoint_is_noticed(run):
    of_another_run(run / "checkpoints/step-00000020/ema.safetensors")
    with pytest.warns(fk.FlowkitWarning, match="it is not what was written"):
        assert usable_checkpoint(run).step == 10


def test_a_run_goes_on_from_before_a_damaged_checkpoint_and_ends_as_if_nothing_had_been(tiny, run):
    whole = fk.Pipeline.load(run).sample(8)
    flip(run / "checkpoints/step-00000020/model.safetensors")
    with pytest.warns(fk.FlowkitWarning, match="model.safetensors is damaged"):
        resumed = tiny.build().fit(run, resume=True)
    assert torch.equal(resumed.sample(8), whole)
    assert latest_checkpoint(run).step == 20
    usable_checkpoint(run)


def test_where_every_checkpoint_is_damaged_all_are_named(run):
    for step in (10, 20):
        flip(run / f"checkpoints/step-{step:08d}/ema.safetensors")
    with pytest.raises(fk.CheckpointError, match=r"no checkpoint can be used:\n.*step-00000020.*\n.*step-00000010"):
        fk.Pipeline.load(run)


def test_all_of_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    happened, rename = [], Path.rename

    def renamed(path, target):
        happened.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(checkpoint, "sync", lambda path: happened.append(path.name))
    monkeypatch.setattr(Path, "rename", renamed)
    saved = save_checkpoint(tmp_path, 10, {"ema": {"w": torch.ones(2)}}, {}, keep=1)
    before = happened[: happened.index("renamed")]
    assert sorted(before) == sorted([*(file.name for file in saved.folder.iterdir()), "partial"])
    assert happened[len(before) :] == ["renamed", "checkpoints"]


def test_a_checkpoint_of_another_network_is_refused_in_words(run, tmp_path):
    state = json.loads(state_of(run)) | {"step": 30}
    save_checkpoint(run, 30, {"ema": {"w": torch.ones(2)}}, state, keep=3)
    with pytest.raises(fk.CheckpointError, match="its weights do not fit the network"):
        fk.Pipeline.load(run)


def test_a_run_whose_configuration_was_edited_is_refused_in_one_short_line(tiny, run):
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("width: 16", "width: 8"))
    misfit = r"fit the network: \S+ has shape \(16, \d+\) there and \(8, \d+\) here, and 4 more differ$"
    with pytest.raises(fk.CheckpointError, match=misfit):
        fk.Pipeline.load(run)
    with pytest.raises(fk.CheckpointError, match=misfit):
        tiny.network("mlp", width=8, depth=2).training(steps=30).build().fit(run, resume=True)


def state_of(run):
    return (run / "checkpoints/step-00000020/state.json").read_text()


def test_the_state_is_that_of_the_moment_and_training_does_not_wait(tmp_path, monkeypatch):
    may_write = threading.Event()

    def slow(*arguments):
        may_write.wait(10)
        return save_checkpoint(*arguments)

    monkeypatch.setattr(writer, "save_checkpoint", slow)
    weight = torch.ones(3)
    with CheckpointWriter(tmp_path, keep=1) as checkpoints:
        checkpoints.start(1, {"model": {"w": weight}}, {"step": 1})
        weight += 1  # training goes on
        assert checkpoints.written() is None
        may_write.set()
        checkpoint = checkpoints.written(wait=True)
        assert checkpoints.written() is None  # told once
    assert torch.equal(checkpoint.tensors("model")["w"], torch.ones(3))


def test_a_large_state_is_not_copied_but_written_before_training_goes_on(tmp_path, monkeypatch):
    written = []

    def note(run, step, tensors, *arguments):
        written.append(tensors["model"]["w"].data_ptr())
        return save_checkpoint(run, step, tensors, *arguments)

    monkeypatch.setattr(writer, "save_checkpoint", note)
    monkeypatch.setattr(writer, "COPIED", 1000)
    weight = torch.ones(251)  # 1,004 bytes
    with CheckpointWriter(tmp_path, keep=1) as checkpoints:
        checkpoints.start(1, {"model": {"w": weight}}, {"step": 1})
        weight += 1
        checkpoint = checkpoints.written()
    assert written == [weight.data_ptr()]
    assert torch.equal(checkpoint.tensors("model")["w"], torch.ones_like(weight))


def test_a_checkpoint_that_cannot_be_written_ends_training_in_words(tiny, tmp_path, monkeypatch):
    written = []

    def full(run, step, *arguments):
        if step > 10:
            raise fk.CheckpointError("No space left on device; earlier checkpoints are untouched")
        written.append(step)
        return save_checkpoint(run, step, *arguments)

    monkeypatch.setattr(writer, "save_checkpoint", full)
    with pytest.raises(fk.CheckpointError, match="No space left"):
        tiny.build().fit(tmp_path / "run")
    assert usable_checkpoint(tmp_path / "run").step == 10


# kill -9.


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_hundred_moments_ends_as_if_nothing_had_been(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(killed_run.__file__).parent))  # for what the server imports
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_run_warm"])
    whole = killed_run.pipeline().fit(tmp_path / "whole")
    expected = {name: latest_checkpoint(tmp_path / "whole").tensors(name) for name in ("model", "ema", "optimizer")}
    moments, kills, torn, complete, ended = random.Random(0), 0, 0, 0, False
    while not ended:
        folder = tmp_path / f"run-{complete}"
        process = context.Process(target=killed_run.train, args=(folder,))
        process.start()
        process.join(moments.uniform(0.03, 0.35) if kills < 100 else None)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        torn += (folder / "checkpoints/partial").exists()
        assert process.exitcode in (0, -signal.SIGKILL)
        newest = latest_checkpoint(folder)
        if newest and newest.step == killed_run.STEPS:
            found = usable_checkpoint(folder)  # a damaged one would warn, and fail here
            for name, tensors in expected.items():
                assert all(torch.equal(found.tensors(name)[key], value) for key, value in tensors.items())
            assert torch.equal(fk.Pipeline.load(folder).sample(8), whole.sample(8))
            complete, ended = complete + 1, kills >= 100
    assert torn  # it was amid a checkpoint at times


# What runs there are.


def test_runs_are_listed_with_how_they_stand(tiny, tmp_path):
    tiny.build().fit(tmp_path / "runs/one")

    class Stop(fk.Callback):
        def logged(self, state):
            if state.step == 15:
                raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        tiny.build().fit(tmp_path / "runs/deep/two", callbacks=[Stop()])
    states = {run.path.name: run for run in list_runs(tmp_path / "runs")}
    assert states["one"].state == "complete"
    assert states["one"].what == "moons, gaussian, mlp, cfm"
    assert states["one"].loss is not None
    assert (states["two"].state, states["two"].what) == ("failed", "RuntimeError: the power went")
    log = tmp_path / "runs/deep/two/metrics.jsonl"
    *lines, last = log.read_text().splitlines(keepends=True)
    assert json.loads(last)["ended"] is True
    log.write_text("".join(lines))  # as if it had been killed
    (two,) = (run for run in list_runs(tmp_path / "runs") if run.path.name == "two")
    assert two.state == "training"  # for all that its files say: it wrote a moment ago
    log.write_text("".join(json.dumps(json.loads(line) | {"time": time.time() - 3600}) + "\n" for line in log.open()))
    two = next(run for run in list_runs(tmp_path / "runs") if run.path.name == "two")
    assert (two.state, two.step, two.steps) == ("stopped", 10, 20)


def test_slow_steps_give_signs_of_life_that_are_no_losses(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.pipeline.run.HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr("flowkit.training.pace._SIGN_SECONDS", 0)
    tiny.build().fit(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert any("loss" not in line for line in lines)
    assert [line["step"] for line in lines if "loss" in line] == [5, 10, 15, 20]
    assert all(time.time() - line["time"] < 60 for line in lines)
