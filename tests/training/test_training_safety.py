"""What training must not be disturbed by: looking at it, crashes, odd networks, other processes."""

import json

import pytest
import torch
from torch import nn

import flowkit as fk
from flowkit.config.sections import TrainingSettings
from flowkit.pipeline.facts import data_mean
from flowkit.processes import check_devices
from flowkit.training.batches import Batches
from flowkit.training.checkpoint import latest_checkpoint, save_checkpoint


class Dropping(nn.Module):
    """Notes, at every step, whether it is in training."""

    def __init__(self):
        super().__init__()
        self.layers, self.modes = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)), []

    def forward(self, x, t, y=None):
        if torch.is_grad_enabled():
            self.modes.append(self.training)
        return self.layers(torch.cat([x, t[:, None]], dim=1))


def test_looking_at_samples_amid_training_leaves_training_as_it_was(tiny, tmp_path):
    network = Dropping()
    pipeline = tiny.network(network).build()

    class Look(fk.Callback):
        def logged(self, state):
            x = pipeline.sample(8)
            assert torch.equal(x, pipeline.sample(8))  # without dropout

    pipeline.fit(tmp_path / "run", callbacks=[Look()])
    assert network.modes == [True] * 20
    assert not network.training  # what is trained is ready for use


def test_a_second_run_starts_from_the_same_weights(tiny, tmp_path):
    pipeline = tiny.build().fit(tmp_path / "first")
    x = pipeline.sample(10)
    assert torch.equal(pipeline.fit(tmp_path / "second").sample(10), x)
    loaded = fk.Pipeline.load(tmp_path / "first")
    assert torch.equal(loaded.fit(tmp_path / "third").sample(10), x)


def test_an_object_that_has_been_trained_is_not_trained_again_as_if_it_were_fresh(tiny, tmp_path):
    pipeline = tiny.network(Dropping()).build().fit(tmp_path / "first")
    with pytest.raises(fk.ConfigError, match="network: this object has been trained before"):
        pipeline.fit(tmp_path / "second")
    pipeline.fit(tmp_path / "first", resume=True)


# Crashes.


def test_a_checkpoint_that_was_never_finished_hides_none(tmp_path):
    save_checkpoint(tmp_path, 10, {"model": {"w": torch.ones(2)}}, {"step": 10}, keep=2)
    for name in ("partial", "step-00000020.partial"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "state.json").write_text("{}")
    assert latest_checkpoint(tmp_path).step == 10
    save_checkpoint(tmp_path, 9_999_999_999, {"model": {"w": torch.ones(2)}}, {}, keep=2)
    assert latest_checkpoint(tmp_path).step == 9_999_999_999  # by number, not by name


def test_a_line_of_metrics_that_a_crash_cut_short_is_passed_over(tiny, tmp_path):
    tiny.training(steps=10).build().fit(tmp_path / "run")
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "loss": 1.2')
    tiny.training(steps=20).build().fit(tmp_path / "run", resume=True)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10, 15, 20]


def test_every_loss_is_logged_once_wherever_checkpoints_fall(tiny, tmp_path):
    class Keep(fk.Callback):
        def __init__(self):
            self.losses, self.rates = [], []

        def logged(self, state):
            self.losses.append(list(state.losses))
            self.rates.append(state.learning_rate)

    whole, parts = Keep(), Keep()
    tiny.training(checkpoint_every=20).build().fit(tmp_path / "whole", callbacks=[whole])
    builder = tiny.training(checkpoint_every=7)
    builder.training(steps=14).build().fit(tmp_path / "parts", callbacks=[parts])
    # Steps 11 to 14 are in the checkpoint of step 14, which was the last; the next run logs them with step 15.
    assert [len(losses) for losses in whole.losses] == [5, 5, 5, 5]
    assert [len(losses) for losses in parts.losses] == [5, 5, 4]
    assert whole.rates[-1] > 0  # the rate of the last step, not of one after it


def test_losses_before_an_interruption_count_in_the_first_line_after_it(tiny, tmp_path):
    class Stop(fk.Callback):
        def checkpoint_saved(self, state, checkpoint):
            if checkpoint.name == "step-00000007":
                raise KeyboardInterrupt

    builder = tiny.training(checkpoint_every=7, decay="none")
    builder.build().fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        builder.build().fit(tmp_path / "parts", callbacks=[Stop()])
    builder.build().fit(tmp_path / "parts", resume=True)
    whole, parts = (
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    )
    assert parts == whole


def test_a_run_does_not_resume_on_other_data(tiny, tmp_path):
    z = torch.randn(100, 2)
    tiny.data(Units(z)).build().fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=r"data: the run was started with other data: shift was .* and is .*"):
        tiny.data(Units(z + 5)).training(steps=30).build().fit(tmp_path / "run", resume=True)


class Units(fk.InMemory):
    @property
    def normalization(self):
        return fk.Normalization(self.z.mean(0), self.z.std(0))


def test_a_run_that_is_older_than_a_setting_goes_on_with_its_default(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    file = tmp_path / "run/config.yaml"
    file.write_text("".join(line for line in file.open() if "compile:" not in line))
    tiny.training(steps=30).build().fit(tmp_path / "run", resume=True)


def test_a_run_does_not_resume_to_fewer_steps_than_are_done(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=r"training\.steps: is 10, and 20 steps are done already"):
        tiny.training(steps=10).build().fit(tmp_path / "run", resume=True)


def test_processes_that_do_not_know_of_one_another_are_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(fk.ConfigError, match="2 processes were launched, and Accelerate sees 1"):
        tiny.build().fit(tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
def test_half_precision_on_a_cpu_is_refused_rather_than_passed_over(tiny, tmp_path):
    with pytest.raises(fk.ConfigError, match=r"training\.mixed_precision: fp16 needs a GPU: take bf16, or no"):
        tiny.training(mixed_precision="fp16").build().fit(tmp_path / "run")


def test_the_settings_themselves_say_which_device_they_need():
    half = TrainingSettings(mixed_precision="fp16")
    half.check_device("cuda")
    with pytest.raises(fk.ConfigError, match="fp16 needs a GPU"):
        half.check_device("cpu")


def test_a_batch_that_cannot_be_cut_up_is_refused(tiny, tmp_path):
    with pytest.raises(fk.ConfigError, match=r"64 cannot be cut into 3 pieces \(training\.accumulate\): take"):
        tiny.training(batch_size=64, accumulate=3).build().fit(tmp_path / "run")


@pytest.mark.parametrize(("gpus", "seen"), [(1, "1 GPU:"), (2, "2 GPUs:")])
def test_processes_that_would_share_a_gpu_are_refused(tiny, tmp_path, monkeypatch, gpus, seen):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(fk.ConfigError, match=f"3 processes were launched on this machine, and PyTorch sees {seen}"):
        tiny.build().fit(tmp_path / "run")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    check_devices()


# Odd networks and data.


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight

    def forward(self, x, t, y=None):
        return self.second(torch.tanh(self.first(x))) + t[:, None]


def test_shared_weights_are_saved_and_averaged(tiny, tmp_path):
    pipeline = tiny.network(Tied()).build().fit(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run", network=Tied())
    assert torch.equal(again.sample(10), pipeline.sample(10))
    tiny.network(Tied()).training(steps=30).build().fit(tmp_path / "run", resume=True)


class Gain(nn.Module, fk.Head):
    """A head with a weight of its own."""

    quantities = (fk.Quantity.VELOCITY,)

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def predict(self, network, x, t, y=None, path=None):
        return {fk.Quantity.VELOCITY: self.gain * network(x, t, y)}


def test_weights_outside_the_network_are_kept_too(tiny, tmp_path):
    pipeline = tiny.head(Gain()).build().fit(tmp_path / "run")
    assert pipeline.model.head.gain != 1
    assert torch.equal(fk.Pipeline.load(tmp_path / "run", head=Gain()).sample(10), pipeline.sample(10))


def test_trainings_of_several_precisions_share_a_process(tiny, tmp_path):
    single = tiny.build().fit(tmp_path / "single").sample(10)
    half = tiny.training(mixed_precision="bf16").build().fit(tmp_path / "half").sample(10)
    again = tiny.training(mixed_precision="no").build().fit(tmp_path / "again").sample(10)
    assert half.dtype == torch.float32
    assert torch.equal(again, single)
    assert not torch.equal(half, single), "it was trained in full precision"


def test_a_checkpoint_on_the_way_leaves_the_precision_as_it_is(tiny, tmp_path):
    once = tiny.training(mixed_precision="bf16", checkpoint_every=20).build().fit(tmp_path / "once")
    often = tiny.training(mixed_precision="bf16", checkpoint_every=4).build().fit(tmp_path / "often")
    assert torch.equal(once.sample(10), often.sample(10))


@pytest.mark.parametrize("z", [torch.randn(100, 2, dtype=torch.float64), torch.randint(0, 255, (100, 2)).byte()])
def test_data_of_any_type_of_number_are_trained_on(tiny, tmp_path, z):
    pipeline = tiny.data(fk.InMemory(z)).build().fit(tmp_path / "run")
    assert pipeline.log_prob(z[:3]).isfinite().all()


def test_tensors_are_trained_on_standardised_and_sampled_in_their_units(tiny, tmp_path):
    z = 1000 + 5 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    pipeline = tiny.data(fk.InMemory(z)).training(steps=300, learning_rate=1e-2).build().fit(tmp_path / "run")
    x = pipeline.sample(2000)
    # A small model after 300 steps: the mean within a deviation, and the deviation within half of it.
    assert (x.mean(0) - 1000).abs().max() < 5
    assert 2.5 < x.std() < 7.5


def test_tensors_that_cannot_be_data_are_refused_by_row():
    z = torch.randn(10, 2)
    z[7, 1] = float("nan")
    with pytest.raises(fk.DataError, match=r"row 7 \(counting from 0\) is not"):
        fk.InMemory(z)
    for wrong in (torch.randn(1, 2), torch.randn(5), [[1.0, 2.0]]):
        with pytest.raises(fk.DataError, match=r"a tensor of shape \(n, \*event\) with at least 2 points"):
            fk.InMemory(wrong)


def test_labels_must_be_class_numbers():
    for y in (torch.rand(10), torch.zeros(9, dtype=torch.int64), torch.full((10,), -1)):
        with pytest.raises(fk.DataError, match=r"labels should be whole numbers from 0 of shape \(10,\)"):
            fk.InMemory(torch.randn(10, 2), y)


def test_large_data_points_are_drawn_a_few_at_a_time(tiny, tmp_path):
    class Wide(fk.DataSource):
        spec = fk.DataSpec((2**16,))
        most = 0

        def draw(self, n, generator=None):
            self.most = max(self.most, n)
            return fk.Batch(torch.zeros(n, 2**16))

    data = Wide()
    next(Batches(data, 8, seed=0))
    assert 8 <= data.most <= 2**22 / 2**16
    data.most = 0

    data_mean(data, data.normalization)
    assert data.most <= 2**22 / 2**16


def test_the_density_of_a_conditional_model_needs_a_label(tiny, tmp_path):
    pipeline = tiny.data("moons", labels=True).build().fit(tmp_path / "run")
    x = pipeline.sample(3)
    with pytest.raises(fk.UnsupportedError, match="give y"):
        pipeline.log_prob(x)
    whole = pipeline.log_prob(x.repeat(200, 1), 1)
    assert whole.shape == (600,)
    torch.testing.assert_close(pipeline.log_prob(x.repeat(200, 1), 1, batch_size=256), whole)
