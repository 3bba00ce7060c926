"""Runs that one process or several train alike; launched as a script, this trains them on several."""

import atexit
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import flowkit as fk
from flowkit.training import checkpoint

STEPS = 12


class Gain(nn.Module, fk.Head):
    """A head with a weight of its own, outside the network."""

    quantities = (fk.Quantity.VELOCITY,)

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))

    def predict(self, network, x, t, y=None, path=None):
        return {fk.Quantity.VELOCITY: self.gain * network(x, t, y)}


def builder(steps=STEPS, beginning=0, **training):
    """In double precision, in which other orders of addition show up at 1e-15. `beginning` seeds the weights."""
    torch.manual_seed(beginning)
    network = fk.create("network", "mlp", width=16, depth=2, event_shape=(2,), num_classes=2).double()
    settings = {"batch_size": 32, "warmup_steps": 2, "log_every": 4, "condition_dropout": 0.3, "decay": "none"}
    built = fk.Pipeline.builder().data("moons", labels=True).network(network).evaluation(metrics=[])
    return built.training(steps=steps, **(settings | training))


RUNS = {
    "plain": builder,
    "evenly spread times": lambda **k: builder(**k).loss("cfm", time="low_discrepancy"),
    "noise of the path": lambda **k: builder(**k).path("brownian_bridge"),
    "weights outside the network": lambda **k: builder(**k).head(Gain()),
    "one plan for all": lambda **k: builder(**k).coupling("ot", across_processes=True),
    "in pieces": lambda **k: builder(accumulate=2, **k),
}
"""Runs by what is special about them."""


class Look(fk.Callback):
    """Draws samples amid training, in the first process alone."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def logged(self, state):
        assert self.pipeline.sample(8, steps=2).isfinite().all()


def measured():
    """Samples are measured amid training."""
    return builder().evaluation(metrics=["wasserstein"], every=5, samples=64, repeats=2).sampling("euler", steps=4)


class Enough(fk.Callback):
    """Ends training once some steps are logged; callbacks are called in the first process alone."""

    def __init__(self, step):
        self.step = step

    def logged(self, state):
        if state.step >= self.step:
            state.stop("that will do")


def dropping(steps=STEPS):
    """Each process draws numbers of its own, in the network and in the coupling."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.3), nn.Linear(16, 2)).double()
    return builder(steps).network(Plain(layers)).coupling("sinkhorn", regularization=1.0)


class Plain(nn.Module):
    """Layers on x and t."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x, t, y=None):
        return self.layers(torch.cat([x, t[:, None]], dim=1))


def launched_twice(script, folder):
    """What two processes make of the runs of a script, in a folder that holds half of a run of one process."""
    builder(steps=STEPS // 2).build().fit(folder / "one and two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [*launch, script, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def weights(pipeline):
    return torch.cat([p.detach().flatten() for p in pipeline.model.parameters()])


def main(folder, rank):
    atexit.register(note_parting, folder, rank)
    torch.set_num_threads(1)
    for name, begin in RUNS.items():
        pipeline = begin(beginning=rank).build()
        pipeline.fit(folder / name, callbacks=[Look(pipeline)])
        torch.save(weights(pipeline), folder / f"{name}-{rank}.pt")
    torch.save(weights(builder().build().fit(folder / "one and two", resume=True)), folder / f"one and two-{rank}.pt")
    builder(steps=STEPS // 2).build().fit(folder / "two and one")
    torch.save(weights(dropping().build().fit(folder / "whole")), folder / f"whole-{rank}.pt")
    dropping(steps=STEPS // 2).build().fit(folder / "halves")
    torch.save(weights(dropping().build().fit(folder / "halves", resume=True)), folder / f"halves-{rank}.pt")
    torch.save(weights(builder().build().fit(folder / "enough", callbacks=[Enough(8)])), folder / f"enough-{rank}.pt")
    torch.save(weights(measured().build().fit(folder / "measured")), folder / f"measured-{rank}.pt")
    if rank == 0:
        checkpoint.save_tensors = full
    try:
        builder(checkpoint_every=4).build().fit(folder / "failed")
    except fk.FlowkitError as error:
        (folder / f"failed-{rank}.txt").write_text(f"{type(error).__name__}: {error}")


def note_parting(folder, rank):
    """Called when the process exits, after what flowkit has registered later."""
    (folder / f"parted-{rank}.txt").write_text(str(not torch.distributed.is_initialized()))


def full(*_):
    raise OSError(28, "No space left on device")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
