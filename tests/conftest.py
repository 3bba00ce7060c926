"""What many tests need: a plugin manager of their own, and a small trained pipeline."""

import gc
import os

import pytest
import torch

import flowkit as fk

os.environ.setdefault("MPLBACKEND", "Agg")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Put modules with slow tests first, so that in the end no process waits long for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Take what is there for good out of the sight of the garbage collector.

    Libraries and thousands of collected tests are millions of objects. Every full collection would walk through them,
    and flowkit asks for full collections whenever memory is full. Small ones are made less often than Python's 700 new
    objects ask for: together they were a tenth of the time of small tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def tiny():
    """A builder of a pipeline that trains in well under a second."""
    return (
        fk.Pipeline.builder()
        .data("moons")
        .network("mlp", width=16, depth=2)
        .training(steps=20, batch_size=32, log_every=5, checkpoint_every=10, warmup_steps=2)
        .sampling("euler", steps=4)
        .evaluation(metrics=["wasserstein"], samples=64, repeats=2)
    )
