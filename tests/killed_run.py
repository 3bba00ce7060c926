"""A run for a test to kill; a module of its own, for a process that is started afresh imports it by name."""

import tempfile
from pathlib import Path

import torch

import flowkit as fk

STEPS = 150


def pipeline():
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=8, depth=1)
    return builder.training(steps=STEPS, batch_size=16, log_every=10, checkpoint_every=2).build()


def train(folder):
    """What a scheduler starts again and again."""
    torch.set_num_threads(1)
    pipeline().fit(folder, resume=(folder / "config.yaml").exists())


def warm_up():
    """Import what a run needs, once for all processes that are forked from this one."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pipeline().fit(Path(folder) / "run")
