"""`training.start_from`: a run that begins with the weights of another."""

import shutil

import pytest
import torch

import flowkit as fk
from flowkit.training.checkpoint import Checkpoint


@pytest.fixture
def first(tiny, tmp_path):
    """A run whose averages are not its last weights."""
    tiny.training(ema_decay=0.9).build().fit(tmp_path / "first")
    return tmp_path / "first"


def standing(builder, first):
    """A step that moves no weight by more than 1e-9."""
    return builder.training(start_from=first, steps=1, learning_rate=1e-9, warmup_steps=0)


def weights(folder, step):
    return Checkpoint(folder / f"checkpoints/step-{step:08d}").tensors("ema")


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_begins_with_the_averages_of_the_other_and_the_mean_of_its_own_data(tiny, first, tmp_path, times):
    pipeline = standing(tiny.data("circles"), first).build()
    for i in range(times):
        pipeline.fit(tmp_path / f"second-{i}")
    found, expected = weights(tmp_path / f"second-{times - 1}", 1), weights(first, 20)
    means = found.pop("data_mean"), expected.pop("data_mean")
    assert not torch.equal(*means)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)  # rounding of numbers up to 1


def test_from_then_on_it_is_a_run_of_its_own(tiny, first, tmp_path):
    builder = tiny.training(start_from=str(first))
    whole = builder.build().fit(tmp_path / "whole")
    builder.training(steps=10, decay="none").build().fit(tmp_path / "half")
    builder.training(steps=20, decay="none").build().fit(tmp_path / "all")
    shutil.rmtree(first)
    builder.build().fit(tmp_path / "half", resume=True)
    assert whole.config["training"]["start_from"] == str(first)
    half, every = (weights(tmp_path / name, 20) for name in ("half", "all"))
    torch.testing.assert_close(half, every, rtol=0, atol=0)


def test_what_cannot_be_started_from_is_refused_before_anything_is_written(tiny, first, tmp_path):
    wider = tiny.network("mlp", width=32, depth=2).training(start_from=first)
    misfit = r"fit the network: \S+ has shape \(\d+, \d+\) there and \(\d+, \d+\) here, and 4 more differ$"
    with pytest.raises(fk.ConfigError, match=r"training\.start_from: .*" + misfit):
        wider.build().fit(tmp_path / "second")
    with pytest.raises(fk.ConfigError, match=r"start_from: .*predicts for the head 'velocity', and here it is 'noise'"):
        tiny.head("noise").network("mlp", width=16, depth=2).build().fit(tmp_path / "second")
    tiny.head("velocity")
    with pytest.raises(fk.ConfigError, match=r"training\.start_from: is the folder of the new run itself"):
        tiny.build().fit(first, overwrite=True)
    assert weights(first, 20)
    nowhere = tiny.training(start_from=tmp_path / "nowhere")
    with pytest.raises(fk.ConfigError, match=r"training\.start_from: .*nowhere: there is no run here"):
        nowhere.build().fit(tmp_path / "second")
    assert not (tmp_path / "second").exists()
