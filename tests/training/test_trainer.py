"""Training: reproducible, resumable to the bit, and safe when it fails."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from shared_runs import Enough
from torch import nn

import flowkit as fk
from flowkit.training import batches
from flowkit.training.batches import Batches
from flowkit.training.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from flowkit.training.ema import EMA


def weights(pipeline):
    return torch.cat([p.detach().flatten() for p in pipeline.model.parameters()])


class StopAt(fk.Callback):
    """Sends a signal after some steps."""

    def __init__(self, step, number=signal.SIGINT):
        self.step, self.number = step, number

    def logged(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), self.number)


def test_training_lowers_the_loss(tiny, tmp_path):
    tiny.training(steps=300, learning_rate=1e-2).build().fit(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert [line["step"] for line in lines] == list(range(5, 301, 5))


def test_the_seed_decides_the_weights_and_global_randomness_is_left_alone(tiny, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = tiny.build().fit(tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second = tiny.build().fit(tmp_path / "b")
    assert torch.equal(weights(first), weights(second))
    third = tiny.training(seed=1).build().fit(tmp_path / "c")
    assert not torch.equal(weights(first), weights(third))


@pytest.mark.parametrize("loss", [{}, {"time": "importance"}])
def test_a_run_begins_anew_whatever_the_pipeline_has_trained_before(tiny, tmp_path, loss):
    builder = tiny.loss("cfm", **loss).training(steps=60)  # importance sampling has learned something by then
    once = weights(builder.build().fit(tmp_path / "once"))
    twice = builder.build()
    twice.fit(tmp_path / "first")
    assert torch.equal(weights(twice.fit(tmp_path / "second")), once)
    resumed = builder.build()
    resumed.fit(tmp_path / "first", resume=True)
    assert torch.equal(weights(resumed.fit(tmp_path / "third")), once)


class Told(fk.Callback):
    """Notes what it is told, and sends a signal when the first checkpoint is there."""

    def __init__(self):
        self.saved, self.ended = [], None

    def checkpoint_saved(self, state, checkpoint):
        if not self.saved:
            os.kill(os.getpid(), signal.SIGINT)
        self.saved.append((Checkpoint(checkpoint).step, state.step, state.learning_rate))

    def training_ended(self, state):
        self.ended = state.step


def test_callbacks_are_told_the_step_that_is_done(tiny, tmp_path):
    told, pipeline = Told(), tiny.training(log_every=1000, steps=10**6, checkpoint_every=10).build()
    with pytest.raises(fk.TrainingInterrupted):
        pipeline.fit(tmp_path / "run", callbacks=[told])
    assert all(step >= saved and rate > 0 for saved, step, rate in told.saved)
    assert told.saved[-1][0] == told.ended > 10


def test_an_interrupted_pipeline_samples_what_its_run_samples(tiny, tmp_path):
    pipeline = tiny.build()
    with pytest.raises(fk.TrainingInterrupted):
        pipeline.fit(tmp_path / "run", callbacks=[StopAt(10)])
    assert not pipeline.model.training
    assert pipeline.step == 10
    assert torch.equal(weights(pipeline), weights(fk.Pipeline.load(tmp_path / "run")))


def test_the_seed_decides_what_a_network_draws(tmp_path):
    class Drawing(nn.Module):
        """Draws from torch's global generator, as dropout does."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.drawn = []

        def forward(self, x, t, y=None):
            self.drawn.append(torch.rand(()).item())
            return self.layer(x)

    def drawn(seed, folder):
        network = Drawing()
        training = {"steps": 3, "batch_size": 8, "seed": seed}
        fk.Pipeline.builder().data("moons").network(network).training(**training).build().fit(tmp_path / folder)
        return network.drawn[-3:]  # one was drawn when it was built

    first = drawn(0, "a")
    assert drawn(0, "b") == first
    assert not set(drawn(1, "c")) & set(first)


@pytest.mark.parametrize("data", ["moons", "digits"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes_to_the_bit(data, number, tmp_path):
    class Dropout(nn.Module):
        """Uses torch's global generator, whose state must come back too."""

        def __init__(self, size):
            super().__init__()
            self.size, self.layers = size, nn.Sequential(nn.Linear(size + 1, 16), nn.Dropout(0.3), nn.Linear(16, size))

        def forward(self, x, t, y=None):
            return self.layers(torch.cat([x.flatten(1), t[:, None]], 1)).reshape(x.shape)

    def builder():
        torch.manual_seed(0)
        builder = fk.Pipeline.builder().data(data).network(Dropout(2 if data == "moons" else 64))
        settings = {"condition_dropout": 0.2} if data == "digits" else {}
        return builder.training(steps=40, batch_size=512, log_every=5, checkpoint_every=17, **settings)

    whole = builder().build().fit(tmp_path / "whole")
    with pytest.raises(fk.TrainingInterrupted) as caught:
        builder().build().fit(tmp_path / "parts", callbacks=[StopAt(25, number)])
    assert caught.value.exit_code == 128 + number
    assert latest_checkpoint(tmp_path / "parts").step == 25
    resumed = builder().build().fit(tmp_path / "parts", resume=True)
    assert torch.equal(weights(whole), weights(resumed))
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(5, 41, 5))
    for name in ("model", "ema", "optimizer"):
        one, two = (latest_checkpoint(tmp_path / run).tensors(name) for run in ("whole", "parts"))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_callback_ends_training_and_the_run_goes_on_as_if_it_had_not(tiny, tmp_path):
    whole = weights(tiny.build().fit(tmp_path / "whole"))
    ended = tiny.build().fit(tmp_path / "ended", callbacks=[Enough(10)])
    assert latest_checkpoint(tmp_path / "ended").step == 10
    assert torch.equal(weights(fk.Pipeline.load(tmp_path / "ended")), weights(ended))  # the averages, as after the last
    (run,) = (run for run in fk.list_runs(tmp_path) if run.path.name == "ended")
    assert (run.state, run.step, run.steps) == ("complete", 10, 20)
    last = json.loads((tmp_path / "ended/metrics.jsonl").read_text().splitlines()[-1])
    assert last["because"] == "that will do"
    assert torch.equal(weights(tiny.build().fit(tmp_path / "ended", resume=True)), whole)


@pytest.mark.parametrize("event", ["training_started", "progressed", "checkpoint_saved"])
def test_a_callback_ends_training_whenever_it_is_called(tiny, tmp_path, monkeypatch, event):
    monkeypatch.setattr("flowkit.training.pace._SIGN_SECONDS", 0)
    callback = fk.Callback()
    setattr(callback, event, lambda state, *_: state.stop("that will do"))
    steps = 10**6  # many more than are done while a checkpoint is written
    tiny.training(steps=steps).build().fit(tmp_path / "run", callbacks=[callback])
    assert 0 < latest_checkpoint(tmp_path / "run").step < steps


def test_the_signal_handlers_come_back(tiny, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    tiny.build().fit(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


class Poison(fk.Callback):
    """Makes a weight not a number after some steps."""

    def logged(self, state):
        if state.step == 15:
            with torch.no_grad():
                next(state.model.parameters()).fill_(float("nan"))


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_good_checkpoint(tiny, tmp_path):
    message = r"the loss became nan at step 16; the last good checkpoint is .*step-00000010"
    with pytest.raises(fk.TrainingError, match=message):
        tiny.build().fit(tmp_path / "run", callbacks=[Poison()])
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint.step == 10
    assert all(value.isfinite().all() for value in checkpoint.tensors("model").values())
    assert fk.Pipeline.load(tmp_path / "run").sample(3).isfinite().all()


class PoisonGradient(fk.Callback):
    """Spoils the weights at the very step of a checkpoint, when the loss was still fine."""

    def logged(self, state):
        if state.step == 20:
            with torch.no_grad():
                next(state.model.parameters()).fill_(float("inf"))


def test_a_loss_that_is_no_number_before_any_weight_has_moved_is_not_blamed_on_the_rate(tiny, tmp_path):
    class Broken(fk.DataSource):
        spec = fk.DataSpec((2,))

        def draw(self, n, generator=None):
            return fk.Batch(torch.full((n, 2), float("nan")))

    message = r"the loss became nan at step 1; no checkpoint yet\. So the data, the path, or the network as it begins"
    with pytest.raises(fk.TrainingError, match=message):
        tiny.data(Broken()).build().fit(tmp_path / "run")
    (run,) = fk.list_runs(tmp_path)
    assert run.state == "failed"
    assert run.what.startswith("the loss became nan at step 1")


def test_spoilt_weights_are_never_saved(tiny, tmp_path):
    with pytest.raises(fk.TrainingError, match="the weights became infinite or not a number at step 20"):
        tiny.build().fit(tmp_path / "run", callbacks=[PoisonGradient()])
    assert latest_checkpoint(tmp_path / "run").step == 10


def test_a_run_is_never_overwritten_unasked(tiny, tmp_path):
    pipeline = tiny.build().fit(tmp_path / "run")
    with pytest.raises(fk.RunExistsError, match=r"--resume.*--overwrite.*--out"):
        pipeline.fit(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("work")
    with pytest.raises(fk.RunExistsError, match="holds no run"):
        pipeline.fit(tmp_path / "other", overwrite=True)
    assert (tmp_path / "other/thesis.tex").read_text() == "work"
    with pytest.raises(fk.RunExistsError, match="no run to resume"):
        pipeline.fit(tmp_path / "none", resume=True)
    (tmp_path / "run/notes.txt").write_text("mine")
    tiny.training(steps=10).build().fit(tmp_path / "run", overwrite=True)
    assert latest_checkpoint(tmp_path / "run").step == 10
    assert (tmp_path / "run/notes.txt").read_text() == "mine"


def test_a_run_does_not_resume_under_another_configuration(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=r"network\.width: the run was started with 16 and cannot go on with 8"):
        tiny.network("mlp", width=8).build().fit(tmp_path / "run", resume=True)
    longer = tiny.network("mlp", width=16, depth=2).training(steps=30).build().fit(tmp_path / "run", resume=True)
    assert latest_checkpoint(tmp_path / "run").step == 30
    assert longer.config["training"]["steps"] == 30


def test_checkpoints_rotate_and_a_failed_one_leaves_the_others(tmp_path, monkeypatch):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"model": {"w": torch.ones(2)}}, {}, keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowkit.training.checkpoint.save_tensors", full)
    with pytest.raises(fk.CheckpointError, match=r"No space left.*earlier checkpoints are untouched"):
        save_checkpoint(tmp_path, 4, {"model": {"w": torch.ones(2)}}, {}, keep=2)
    assert latest_checkpoint(tmp_path).step == 3


def test_nothing_in_a_run_folder_is_a_pickle(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    suffixes = {path.suffix for path in Path(tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes == {".yaml", ".jsonl", ".json", ".safetensors", ""}  # SHA256SUMS is plain text


def test_the_average_forgets_its_start_and_decay_zero_copies():
    parameter = torch.zeros(3)
    average, copy = EMA([parameter], 0.9), EMA([parameter], 0.0)
    parameter += 1
    for step in range(1, 200):
        average.update(step)
        copy.update(step)
    assert torch.allclose(average.averages[0], parameter, atol=1e-6)
    assert torch.equal(copy.averages[0], parameter)


class Slow(fk.Dataset):
    """Data that are read as they are asked for; notes when."""

    ahead = True
    spec = fk.DataSpec((1,))

    def __init__(self):
        self.taken, self.began = [], threading.Semaphore(0)

    def __len__(self):
        return 1024

    def take(self, index):
        self.taken.append(index.tolist())
        self.began.release()
        if threading.current_thread() is not threading.main_thread() and index.tolist() == self.taken[1]:
            assert self.may_end.wait(10)
        return fk.Batch(index[:, None].float())


def test_data_that_take_their_time_are_taken_ahead_of_the_step():
    data = Slow()
    data.may_end = threading.Event()
    stream = Batches(data, 256, seed=1)
    first = next(stream).z
    for _ in range(2):  # the first batch, and the second while nobody waits for it yet
        assert data.began.acquire(timeout=10)
    data.may_end.set()
    rest = [next(stream).z for _ in range(3)]
    assert torch.cat([first, *rest]).flatten().sort().values.equal(torch.arange(1024.0))  # an epoch
    assert len(data.taken) == 4  # the next one has no order yet


def test_an_error_of_a_batch_that_was_taken_ahead_comes_up_where_it_is_wanted():
    class Torn(Slow):
        def take(self, index):
            if threading.current_thread() is not threading.main_thread():
                raise OSError("a bad sector")
            return super().take(index)

    stream = Batches(Torn(), 256, seed=1)
    next(stream)
    with pytest.raises(OSError, match="a bad sector"):
        next(stream)


class Quick(Slow):
    """Data that are taken ahead and keep nobody waiting."""

    def take(self, index):
        return fk.Batch(index[:, None].float())


@pytest.mark.parametrize("name", ["moons", "digits", "slow"])
def test_batches_resume_anywhere(name):
    data = Quick() if name == "slow" else fk.create("data", name)
    stream = Batches(data, 256, seed=1)
    for _ in range(9):
        next(stream)
    state = stream.state()
    expected = [next(stream).z for _ in range(300)]
    again = Batches(data, 256, seed=5)
    again.restore(*state)
    assert all(torch.equal(next(again).z, z) for z in expected)


def test_an_epoch_visits_every_sample_once_in_a_new_order():
    data = fk.InMemory(torch.arange(12.0)[:, None])
    stream = Batches(data, 4, seed=0)
    epochs = [torch.cat([next(stream).z for _ in range(3)]).flatten() for _ in range(2)]
    seen = data.normalization.normalize(data.z).flatten()
    assert all(torch.equal(epoch.sort().values, seen) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_processes_share_a_batch_without_overlap():
    data = fk.InMemory(torch.arange(12.0)[:, None])
    whole = next(Batches(data, 6, seed=0)).z
    parts = [next(Batches(data, 6, seed=0, rank=rank, world=2)).z for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("world", [1, 2])
def test_a_large_data_set_in_memory_is_the_stream_of_a_small_one_and_is_not_kept_twice(world, monkeypatch):
    data = fk.InMemory(torch.randn(90, 5), torch.arange(90) % 3)
    small = Batches(data, 10, seed=0, rank=world - 1, world=world)
    expected = [next(small) for _ in range(20)]
    monkeypatch.setattr(batches, "_TAKEN_AT_ONCE", 200)  # 4 batches; the data are 450 numbers
    large = Batches(data, 10, seed=0, rank=world - 1, world=world)
    for batch in expected:
        found = next(large)
        assert torch.equal(found.z, batch.z)
        assert torch.equal(found.y, batch.y)
        assert found.z.untyped_storage().nbytes() <= 4 * 200


def test_a_data_set_smaller_than_a_batch_is_drawn_from_with_replacement():
    batch = next(Batches(fk.InMemory(torch.arange(3.0)[:, None]), 64, seed=0))
    assert batch.z.shape == (64, 1)


def test_large_data_sets_are_read_batch_by_batch():
    class OnDisk(fk.Dataset):
        spec = fk.DataSpec((1,))
        reads = 0

        def __len__(self):
            return 1000

        def take(self, index):
            self.reads += 1
            return fk.Batch(index[:, None].float())

    data = OnDisk()
    stream = Batches(data, 100, seed=0)
    epoch = torch.cat([next(stream).z for _ in range(10)]).flatten()
    assert torch.equal(epoch.sort().values, torch.arange(1000.0))
    assert data.reads == 10
