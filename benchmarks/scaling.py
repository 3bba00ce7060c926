"""How a training step slows down where processes share a batch, and what will limit it on many GPUs.

One process and several, each with the same batch of its own (weak scaling), train the same network on CPUs, in turns.
Medians are printed, with the time that the processes take to add up gradients of that size and nothing else. Below, a
model: the time to send gradients over links of the bandwidths that are stated, and the step that it takes to hide it.

    python benchmarks/scaling.py [--processes 2] [--rounds 3] [--steps 200] [--batch 512] [--width 256] [--depth 4]
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import flowkit as fk

INTERVAL = 20
LATENCY = 5e-6
"""Seconds a hop between GPUs, of which a tree takes 2 log2(N)."""
LINKS = {
    8: ("NVLink, 450 GB/s each way", 450e9),
    64: ("400 Gb/s InfiniBand a GPU", 50e9),
    1024: ("400 Gb/s InfiniBand a GPU", 50e9),
}
"""The slowest link on the ring of so many GPUs, eight to a node, in bytes a second."""
EFFICIENCY = 0.8
"""The share of a link's bandwidth that is reached."""


class Intervals(fk.Callback):
    """Seconds a step, interval by interval, without the first, which warms up."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def logged(self, state: fk.TrainingState) -> None:
        if state.step > INTERVAL:
            self.seconds.append(1 / state.steps_per_second)


def work(options: argparse.Namespace, world: int) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    intervals = Intervals()
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=options.width, depth=options.depth)
    builder = builder.training(steps=options.steps, batch_size=options.batch * world, log_every=INTERVAL)
    pipeline = builder.evaluation(metrics=[]).build()
    with tempfile.TemporaryDirectory() as folder:
        shared = options.out.with_suffix("") if world > 1 else Path(folder)
        pipeline.fit(shared, callbacks=[intervals])
    parameters = sum(p.numel() for p in pipeline.model.parameters())
    alone = []
    if world > 1:
        gradients = torch.zeros(parameters)
        for _ in range(50):
            start = time.perf_counter()
            torch.distributed.all_reduce(gradients)
            alone.append(time.perf_counter() - start)
    if intervals.seconds:  # the first process, which is the one that callbacks are called in
        found = {"step": intervals.seconds, "reduce": alone, "parameters": parameters}
        options.out.write_text(json.dumps(found))


def measure(world: int, out: Path) -> dict:
    """Launch so many processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(world)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, __file__, *sys.argv[1:], "--out", str(out)], env=environment, check=True)
    return json.loads(out.read_text())


def predict(parameters: float, gpus: int, volume: int) -> float:
    """Seconds to send `volume` times the gradients, 4 bytes a parameter, around a ring."""
    bandwidth = EFFICIENCY * LINKS[gpus][1]
    return volume * (gpus - 1) / gpus * 4 * parameters / bandwidth + 2 * math.log2(gpus) * LATENCY


def main() -> None:
    """Print the medians, and what the model says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"processes": 2, "rounds": 3, "steps": 200, "batch": 512, "width": 256, "depth": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)  # of the processes that this launches
    options = parser.parse_args()
    if options.out:
        work(options, int(os.environ["WORLD_SIZE"]))
        return
    steps: dict[int, list[float]] = {1: [], options.processes: []}
    reductions = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(options.rounds):
            for world, seconds in steps.items():
                found = measure(world, Path(folder) / f"{world}-{round_}.json")
                seconds += found["step"]
                reductions += found["reduce"]
    one, several = (statistics.median(seconds) for seconds in steps.values())
    parameters = found["parameters"]
    print(f"{parameters:,} parameters, {options.batch} samples a process; load {os.getloadavg()[0]:.1f} on", end=" ")
    print(f"{os.cpu_count()} cores")
    print(f"1 process    {1e3 * one:8.2f} ms a step")
    print(f"{options.processes} processes  {1e3 * several:8.2f} ms a step, {100 * one / several:.0f}% of ideal")
    print(f"all-reduce   {1e3 * statistics.median(reductions):8.2f} ms for {4 * parameters / 1e6:.1f} MB, alone\n")
    print("milliseconds to send gradients in float32 (FSDP: weights twice, gradients once):")
    for size in (5e7, 5e8, 5e9):
        for gpus, (link, _) in LINKS.items():
            ddp, fsdp = (1e3 * predict(size, gpus, volume) for volume in (2, 3))
            print(f"{size:8.0e} parameters, {gpus:5} GPUs ({link}): DDP {ddp:7.1f}, FSDP {fsdp:7.1f}")


if __name__ == "__main__":
    main()
