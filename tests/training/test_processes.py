"""Several processes, and batches in pieces, train what one process trains in one piece."""

import pytest
import shared_runs
import torch
from shared_runs import RUNS, STEPS, Enough, builder, launched_twice, measured, weights

import flowkit as fk
from flowkit import random
from flowkit.pipeline.run import RunFolder
from flowkit.random import ShareGenerator, draw
from flowkit.training.checkpoint import latest_checkpoint

ROUNDING = 1e-10
"""Sums of 32 doubles in another order differ by about 1e-15 of their size; Adam divides by root mean squares of
gradients, some of which are 1e-3 of the largest, and a dozen steps add up. Other random numbers differ by 1e-2."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes have made of the runs."""
    return launched_twice(shared_runs.__file__, tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains(name, folder, tmp_path):
    alone = weights(RUNS[name]().build().fit(tmp_path))
    for rank in (0, 1):
        assert (torch.load(folder / f"{name}-{rank}.pt") - alone).abs().max() < ROUNDING


@pytest.mark.slow
def test_two_processes_measure_what_one_measures_and_train_on(folder, tmp_path):
    alone = weights(measured().build().fit(tmp_path))
    for rank in (0, 1):
        assert (torch.load(folder / f"measured-{rank}.pt") - alone).abs().max() < ROUNDING
    found, expected = (
        [line["metrics"] for line in RunFolder(run).log() if "metrics" in line]
        for run in (folder / "measured", tmp_path)
    )
    assert len(found) == 2
    for seen, wanted in zip(found, expected, strict=True):
        assert seen["2-Wasserstein"] == pytest.approx(wanted["2-Wasserstein"], rel=1e-6)


@pytest.mark.slow
def test_all_processes_stop_where_a_callback_ends_training(folder, tmp_path):
    alone = weights(builder().build().fit(tmp_path, callbacks=[Enough(8)]))
    for rank in (0, 1):
        assert (torch.load(folder / f"enough-{rank}.pt") - alone).abs().max() < ROUNDING
    assert latest_checkpoint(folder / "enough").step == 8


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(folder, tmp_path):
    alone = weights(builder().build().fit(tmp_path))
    for rank in (0, 1):
        assert (torch.load(folder / f"one and two-{rank}.pt") - alone).abs().max() < ROUNDING
    resumed = builder().build().fit(folder / "two and one", resume=True)
    assert (weights(resumed) - alone).abs().max() < ROUNDING


@pytest.mark.slow
def test_a_run_of_two_processes_that_draw_numbers_of_their_own_resumes_to_the_bit(folder):
    whole = torch.load(folder / "whole-0.pt")
    for name in ("whole-1", "halves-0", "halves-1"):
        assert torch.equal(torch.load(folder / f"{name}.pt"), whole)


@pytest.mark.slow
def test_all_processes_stop_when_the_first_cannot_write_a_checkpoint(folder):
    first, second = ((folder / f"failed-{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("CheckpointError: ")
    assert "No space left" in first
    assert second == f"TrainingError: process 0 failed: {first}"


@pytest.mark.slow
def test_processes_part_before_they_exit(folder):
    assert [(folder / f"parted-{rank}.txt").read_text() for rank in (0, 1)] == ["True", "True"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != "in pieces"])
def test_a_batch_in_pieces_trains_what_it_trains_in_one(name, tmp_path):
    whole = weights(RUNS[name]().build().fit(tmp_path / "whole"))
    pieces = weights(RUNS[name]().training(accumulate=4).build().fit(tmp_path / "pieces"))
    assert (whole - pieces).abs().max() < ROUNDING


def test_a_run_goes_on_in_another_number_of_pieces(tmp_path):
    whole = weights(builder().build().fit(tmp_path / "whole"))
    builder(steps=STEPS // 2, accumulate=2).build().fit(tmp_path / "parts")
    for accumulate, steps in ((1, STEPS - 2), (4, STEPS)):
        resumed = builder(steps=steps, accumulate=accumulate).build().fit(tmp_path / "parts", resume=True)
    assert (whole - weights(resumed)).abs().max() < ROUNDING


def test_a_batch_that_has_no_equal_pieces_is_refused(tmp_path):
    with pytest.raises(fk.ConfigError, match=r"training\.batch_size: 32 .* 3 pieces .*a multiple of 3"):
        builder(accumulate=3).build().fit(tmp_path / "run")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ACCELERATE_USE_FSDP", "true", "asks for FSDP, which training does not support"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", r"set training\.accumulate instead"),
        (
            "ACCELERATE_MIXED_PRECISION",
            "bf16",
            r"precision bf16, and training\.mixed_precision is no: .* \(no, fp16, bf16",
        ),
    ],
)
def test_a_launch_that_would_train_something_else_is_refused(variable, value, message, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(fk.ConfigError, match=message):
        builder().build().fit(tmp_path / "run")


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_launch_may_ask_for_the_precision_that_is_set_or_for_none(precision, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    builder(steps=2, mixed_precision="bf16").build().fit(tmp_path / "run")


# The random numbers of a share.


def noise(n, generator):
    return torch.randn(n, 3, generator=generator)


def times(n, generator):
    return torch.rand(n, generator=generator)


def draws(generator, n):
    """Two kinds of draws in turn, as a step makes them."""
    return [draw(noise, n, generator, 3), draw(times, n, generator), draw(noise, n, generator, 3)]


@pytest.fixture(params=["in one go", "in blocks"])
def drawn(request, monkeypatch):
    if request.param == "in blocks":
        monkeypatch.setattr(random, "WHOLE", 21)  # 7 samples of 3 numbers, of which 24 make no whole number of blocks
    return request.param


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("world", "pieces"), [(2, 1), (1, 3), (4, 2)])
def test_shares_and_pieces_are_cut_from_the_draws_of_one_process(world, pieces, drawn):
    whole = draws(ShareGenerator(5, 24), 24)
    found = []
    for rank in range(world):
        generator = ShareGenerator(5, 24, rank, world, pieces)
        assert len(draw(noise, 24 // world, generator, 3)) == 24 // world
        generator.set_state(ShareGenerator(5, 24).get_state())
        found += [draws(generator, len(piece)) for piece in generator.pieces()]
    assert same([torch.cat(parts) for parts in zip(*found, strict=True)], whole)


def test_one_process_draws_as_from_any_generator():
    generator, plain = ShareGenerator(5, 24), torch.Generator().manual_seed(5)
    assert same(draws(generator, 24), [noise(24, plain), times(24, plain), noise(24, plain)])
    assert torch.equal(noise(7, generator), noise(7, plain))


def test_what_is_not_drawn_for_the_whole_batch_differs_between_processes():
    first, second = (ShareGenerator(5, 24, rank, 2) for rank in (0, 1))
    assert not torch.equal(noise(12, first), noise(12, second))
    assert same(draws(first, 12), [part[:12] for part in draws(ShareGenerator(5, 24), 24)])  # nor does it matter
    before = noise(12, second)
    second.part_ways(100)
    assert not torch.equal(noise(12, second), before)


@pytest.mark.parametrize("world", [1, 2])
def test_the_state_goes_on_in_any_share(world, drawn):
    generator = ShareGenerator(5, 24, 1 % world, world)
    draws(generator, 24 // world)
    state, expected = generator.get_state(), draws(generator, 24 // world)
    for other in (1, 2, 3):
        found = []
        for rank in range(other):
            again = ShareGenerator(6, 24, rank, other) if drawn == "in one go" else ShareGenerator(5, 24, rank, other)
            again.set_state(state)
            found.append(draws(again, 24 // other))
        whole = [torch.cat(parts) for parts in zip(*found, strict=True)]
        assert same([part[-24 // world :] for part in whole], expected)
