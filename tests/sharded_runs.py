"""Runs that processes train with the network cut over them; launched as a script, this trains them on several."""

import gc
import os
import signal
import sys
from pathlib import Path

import shared_runs
import torch
from shared_runs import STEPS, Look, builder, full, weights
from torch import nn
from torch.distributed.fsdp import FSDPModule

import flowkit as fk
from flowkit.training import checkpoint, pace, parts, trainer


class Blocks(nn.Module):
    """Blocks in a list, of which two share a weight that no number of processes divides; a single number; a buffer."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(3, 7), *(nn.Sequential(nn.Linear(7, 7), nn.SiLU()) for _ in range(3))])
        self.blocks[1][0].weight = self.blocks[2][0].weight
        self.last = nn.Linear(7, 2)
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
        self.gain = nn.Parameter(torch.ones(()))
        self.register_buffer("unit", torch.ones(1))

    def forward(self, x, t, y=None):
        h = self.blocks[0](torch.cat([x, t[:, None]], dim=1))
        for block in self.blocks[1:]:
            h = h + block(h) * self.frozen.mean()
        return self.gain * self.unit * self.last(h)


def of_blocks(**settings):
    built = builder(**settings)
    return built.network(Blocks().double())


def wide(**settings):
    built = builder(**settings)
    network = fk.create("network", "mlp", width=128, depth=2, event_shape=(2,), num_classes=2)
    return built.network(network.double()).data(fk.InMemory(torch.randn(64, 2), torch.arange(64) % 2))


class Stop(fk.Callback):
    """Has the first process told to stop after the first steps."""

    def logged(self, state):
        if state.step == 4:
            signal.raise_signal(signal.SIGTERM)


class Cuts(fk.Callback):
    """Writes down which modules come together by themselves."""

    def progressed(self, state):
        network = state.model.network
        cut = [name or type(network).__name__ for name, m in network.named_modules() if isinstance(m, FSDPModule)]
        (state.folder.parent / "blocks.txt").write_text(" ".join(cut))


def half(**settings):
    """In bfloat16, with a checkpoint on the way."""
    settings = {"mixed_precision": "bf16", "checkpoint_every": 4} | settings
    return builder(**settings).network("mlp", width=16, depth=2)


RUNS = shared_runs.RUNS | {
    "clipped": lambda **k: builder(gradient_clip=0.05, weight_decay=0.1, **k),
    "blocks": of_blocks,
}
"""Runs by what is special about them."""


class LookInPassing(fk.Callback):
    """Tries to use the network where the other processes go on."""

    answer = ""

    def progressed(self, state):
        try:
            state.model.velocity(torch.zeros(1, 2, dtype=torch.float64), 0.5)
        except fk.UnsupportedError as error:
            self.answer = str(error)


def bytes_of_doubles():
    """What the tensors in double precision of this process take."""
    gc.collect()
    tensors = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter) and t.dtype is torch.float64]
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


def bytes_in_training(pipeline, folder):
    """What they take when the last checkpoint is due."""
    found, save = [], trainer.Trainer._save

    def measure(training):
        found.append(bytes_of_doubles())
        save(training)

    trainer.Trainer._save = measure
    try:
        pipeline.fit(folder)
    finally:
        trainer.Trainer._save = save
    return found[-1]


def refused(built, folder, name, rank, **how):
    """Why it does not train, or not to the end; the pipeline."""
    pipeline = built.build()
    try:
        pipeline.fit(folder / name, **how)
    except fk.FlowkitError as error:
        (folder / f"{name}-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    return pipeline


def main(folder, rank):
    torch.set_num_threads(1)
    for name, begin in RUNS.items():
        pipeline = begin(beginning=rank, shard=True).build()
        pipeline.fit(folder / name, callbacks=[Look(pipeline)])
        torch.save((weights(pipeline), pipeline.sample(8, steps=2)), folder / f"{name}-{rank}.pt")
    resumed = builder(shard=True).build().fit(folder / "one and two", resume=True)
    torch.save(weights(resumed), folder / f"one and two-{rank}.pt")
    builder(steps=STEPS // 2, shard=True).build().fit(folder / "two and one")
    builder(steps=STEPS // 2, shard=True).build().fit(folder / "halves")
    torch.save(weights(builder(shard=True).build().fit(folder / "halves", resume=True)), folder / f"halves-{rank}.pt")
    torch.save(bytes_in_training(wide(shard=True).build(), folder / "wide"), folder / f"bytes-{rank}.pt")
    torch.save(weights(half(shard=True).build().fit(folder / "half")), folder / f"half-{rank}.pt")
    pace._SIGN_SECONDS = -1
    passing = LookInPassing()
    builder(shard=True).build().fit(folder / "passing", callbacks=[passing])
    (folder / f"passing-{rank}.txt").write_text(passing.answer)
    mixed = Blocks().double()
    mixed.last.register_parameter("spare", nn.Parameter(torch.ones(2), requires_grad=False))
    of_blocks(shard=True).build().fit(folder / "cuts", callbacks=[Cuts()])
    refused(builder(shard=True).network(mixed), folder, "dtypes", rank)
    stopped = refused(builder(shard=True), folder, "stopped", rank, callbacks=[Stop()])
    torch.save(stopped.model.state_dict(), folder / f"stopped-{rank}.pt")
    if rank == 1:
        parts.sync = full
    refused(builder(shard=True, checkpoint_every=4), folder, "second", rank)
    parts.sync = checkpoint.sync
    if rank == 0:
        checkpoint.save_tensors = full
    refused(builder(shard=True, checkpoint_every=4), folder, "failed", rank)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
