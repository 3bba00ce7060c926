"""Processes that share one copy of the weights train what one process trains, and hold a part of it each."""

import pytest
import sharded_runs
import torch
from safetensors.torch import load_file, save_file
from sharded_runs import RUNS, bytes_in_training, half, wide
from shared_runs import STEPS, builder, launched_twice, weights

import flowkit as fk
from flowkit.training.parts import own_rows

ROUNDING = 1e-10
"""As for processes with a copy each: see `test_processes.py`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes have made of the runs."""
    return launched_twice(sharded_runs.__file__, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 7, 8])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_rows_of_a_process_are_those_that_torch_gives_it(rows, world):
    parts = torch.arange(rows).chunk(world) if rows else ()
    for rank in range(world):
        expected = parts[rank].tolist() if rank < len(parts) else []
        assert list(range(rows))[own_rows(rows, rank, world)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_with_one_copy_train_and_sample_what_one_does(name, folder, tmp_path):
    pipeline = RUNS[name]().build()
    begun = weights(pipeline)
    alone = weights(pipeline.fit(tmp_path))
    assert (alone - begun).abs().max() > 1e-3  # the first steps of Adam are as long as the learning rate
    for rank in (0, 1):
        found, samples = torch.load(folder / f"{name}-{rank}.pt")
        assert (found - alone).abs().max() < ROUNDING
        assert (samples - pipeline.sample(8, steps=2)).abs().max() < ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_holds_what_one_process_writes(name, folder, tmp_path):
    RUNS[name]().build().fit(tmp_path)
    checkpoint = f"checkpoints/step-{STEPS:08d}"
    for file in ("model", "ema", "optimizer"):
        alone, shared = (load_file(run / checkpoint / f"{file}.safetensors") for run in (tmp_path, folder / name))
        assert alone.keys() == shared.keys()
        for key, value in alone.items():
            assert (shared[key].shape, shared[key].dtype) == (value.shape, value.dtype)
            assert (shared[key] - value).abs().max() < ROUNDING
        save_file(shared, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (folder / name / checkpoint / f"{file}.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_with_and_without_a_cut(folder, tmp_path):
    alone = weights(builder().build().fit(tmp_path))
    for rank in (0, 1):
        assert (torch.load(folder / f"one and two-{rank}.pt") - alone).abs().max() < ROUNDING
    resumed = builder().build().fit(folder / "two and one", resume=True)
    assert (weights(resumed) - alone).abs().max() < ROUNDING


@pytest.mark.slow
def test_a_run_with_one_copy_resumes_to_the_bit(folder):
    for rank in (0, 1):
        assert torch.equal(torch.load(folder / f"halves-{rank}.pt"), torch.load(folder / f"plain-{rank}.pt")[0])


@pytest.mark.slow
def test_each_of_two_processes_holds_half_of_weights_averages_and_moments(folder, tmp_path):
    pipeline = wide().build()
    whole = bytes_in_training(pipeline, tmp_path / "run")
    assert whole > 4 * 8 * sum(p.numel() for p in pipeline.model.parameters())  # 4 copies of 8 bytes a number
    for rank in (0, 1):
        assert torch.load(folder / f"bytes-{rank}.pt") < 0.55 * whole  # with the batches of the step


@pytest.mark.slow
def test_mixed_precision_is_that_of_one_process(folder, tmp_path):
    """Each product is rounded to 8 bits with and without a cut; only sums over samples are rounded at other places."""
    alone = weights(half().build().fit(tmp_path / "half"))
    full = weights(half(mixed_precision="no").build().fit(tmp_path / "full"))
    for rank in (0, 1):
        found = torch.load(folder / f"half-{rank}.pt")
        assert (found - alone).norm() < (found - full).norm() / 2


@pytest.mark.slow
def test_large_blocks_come_together_one_by_one(folder):
    """Those whose weights others use come together with the rest of the network."""
    assert (folder / "blocks.txt").read_text().split() == ["FSDPBlocks", "blocks.0", "blocks.3"]


@pytest.mark.slow
def test_parameters_of_several_dtypes_are_refused(folder):
    for rank in (0, 1):
        message = (folder / f"dtypes-{rank}.txt").read_text()
        assert message.endswith("the parameters of the network must be of one dtype, not torch.float32, torch.float64")


@pytest.mark.slow
def test_a_callback_that_would_wait_for_the_other_processes_is_told(folder):
    first, second = ((folder / f"passing-{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("the network is cut over the processes (training.shard), and one cannot use it alone")
    assert second == ""  # callbacks are called in the first process


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_has_its_averages_whole_on_every_process(folder):
    saved = load_file(folder / "stopped" / "checkpoints" / "step-00000004" / "ema.safetensors")
    for rank in (0, 1):
        assert (folder / f"stopped-{rank}.txt").read_text().startswith("TrainingInterrupted: stopped at step 4 of 12")
        weights = torch.load(folder / f"stopped-{rank}.pt")
        assert weights.keys() == saved.keys()
        assert all(torch.equal(weights[name], value) for name, value in saved.items())


@pytest.mark.slow
def test_all_processes_stop_when_the_first_cannot_write_a_checkpoint(folder):
    first, second = ((folder / f"failed-{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("CheckpointError: ")
    assert second == f"TrainingError: process 0 failed: {first}"


@pytest.mark.slow
def test_all_processes_stop_when_the_second_cannot_write_its_rows(folder):
    first, second = ((folder / f"second-{rank}.txt").read_text() for rank in (0, 1))
    assert second.startswith("CheckpointError: ")
    assert "No space left" in second
    assert first == f"TrainingError: process 1 failed: {second}"
    assert not list((folder / "second" / "checkpoints").iterdir())


def test_one_process_has_nothing_to_cut(tmp_path):
    plain = weights(builder().build().fit(tmp_path / "plain"))
    assert torch.equal(weights(builder(shard=True).build().fit(tmp_path / "shard")), plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile": True}, r"training\.compile: .* choose it or training\.shard"),
        ({"mixed_precision": "fp16"}, r"training\.mixed_precision: fp16 does not go with training\.shard: take bf16"),
    ],
)
def test_what_does_not_go_with_it_is_refused(settings, message, tmp_path):
    with pytest.raises(fk.ConfigError, match=message):
        builder(shard=True, **settings).build().fit(tmp_path / "run")
