"""A training step of flowkit against a hand-written eager PyTorch loop of the same work.

Both train the same network on the same data with conditional flow matching: draw a batch, noise and times, regress
the velocity, clip the gradient, step Adam, average the weights. They take turns, a round each, in one process; the
hand-written loop with PyTorch's own number of threads, or with `--threads` of them: on a busy machine threads that wait
for one another cost it far more than the step itself. `--compile` compiles flowkit's step, `--image 8` trains the U-Net
on noise of the size of 8 x 8 images, `--coupling ot` gives optimal pairs to flowkit alone. Where there is a GPU, both
run there.

    python benchmarks/training_step.py [--rounds 15] [--steps 200] [--batch 256] [--width 64] [--depth 3]
                                       [--threads 2] [--compile] [--image SIZE] [--coupling NAME]
"""

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import flowkit as fk

EMA_DECAY, RATE, WARMUP, CLIP = 0.999, 1e-3, 100, 1.0


def learning_rate(step: int, total: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    return RATE * min(1, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / total))


def hand_written(network: nn.Module, data: torch.Tensor, batch: int, total: int) -> Callable[[int], None]:
    """The loop that people write: plain eager PyTorch, Adam with its defaults."""
    network.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0)
    average = copy.deepcopy(network)
    step = 0

    def run(steps: int) -> None:
        nonlocal step
        for _ in range(steps):
            z = data[torch.randint(len(data), (batch,), device=data.device)]
            x0 = torch.randn_like(z)
            t = torch.rand(batch, device=data.device)
            t_ = t.reshape(-1, *(1,) * (z.ndim - 1))
            x = t_ * z + (1 - t_) * x0
            loss = (network(x, t) - (z - x0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, total)
            optimizer.step()
            with torch.no_grad():
                for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
                    mean.lerp_(parameter, 1 - EMA_DECAY)
            step += 1
        if data.is_cuda:
            torch.cuda.synchronize()

    return run


def with_flowkit(
    network: nn.Module, data: fk.DataSource, batch: int, steps: int, coupling: str = "independent", **training: Any
) -> fk.Pipeline:
    """The same in flowkit."""
    return (
        fk.Pipeline.builder()
        .data(data)
        .coupling(coupling)
        .path("gaussian", schedule="condot")
        .network(network)
        .head("velocity")
        .loss("cfm")
        .training(
            steps=steps,
            batch_size=batch,
            learning_rate=RATE,
            warmup_steps=WARMUP,
            gradient_clip=CLIP,
            ema_decay=EMA_DECAY,
            **training,
        )
        .evaluation(metrics=[])
        .build()
    )


class Turns(fk.Callback):
    """Lets other loops run a round after each of flowkit's, and times all."""

    def __init__(self, others: dict[str, Callable[[int], None]], steps: int, threads: int | None = None) -> None:
        self.others, self.steps, self.threads = others, steps, threads
        self.times: dict[str, list[float]] = {name: [] for name in (*others, "flowkit")}

    def training_started(self, state: fk.TrainingState) -> None:
        self.start = time.perf_counter()

    def logged(self, state: fk.TrainingState) -> None:
        if state.step % self.steps:
            return
        ours = torch.get_num_threads()
        self.note("flowkit", state)
        torch.set_num_threads(self.threads or ours)
        for name, other in self.others.items():
            self.start = time.perf_counter()
            other(self.steps)
            self.note(name, state)
        torch.set_num_threads(ours)
        self.start = time.perf_counter()

    def note(self, name: str, state: fk.TrainingState) -> None:
        if state.step > self.steps:  # the first round warms up
            self.times[name].append((time.perf_counter() - self.start) / self.steps)


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"rounds": 15, "steps": 200, "batch": 256, "width": 64, "depth": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--image", type=int)
    parser.add_argument("--coupling", default="independent")
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.image:
        data = torch.randn(1000, 3, options.image, options.image)
        network = fk.create("network", "unet", width=32, event_shape=data.shape[1:])
        what = f"U-Net 32, 64 on {options.image} x {options.image}"
    else:
        data = fk.create("data", "moons").draw(20_000, torch.Generator().manual_seed(0)).z
        network = fk.create("network", "mlp", width=options.width, depth=options.depth, event_shape=(2,))
        what = f"MLP {options.depth} x {options.width}"
    total = (options.rounds + 1) * options.steps
    device = "cuda" if torch.cuda.is_available() else "cpu"
    other = hand_written(copy.deepcopy(network).to(device), data.to(device), options.batch, total)
    turns = Turns({"hand-written": other}, options.steps, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        log_every = min(50, options.steps)
        pipeline = with_flowkit(
            network,
            fk.InMemory(data),
            options.batch,
            total,
            options.coupling,
            log_every=log_every,
            checkpoint_every=total,
            compile=options.compile,
        )
        pipeline.fit(folder, callbacks=[turns])
    medians = {name: statistics.median(values) for name, values in turns.times.items()}
    for name, median in medians.items():
        print(f"{name:14s} {1e6 * median:8.1f} us a step")
    print(
        f"ratio flowkit / hand-written: {medians['flowkit'] / medians['hand-written']:.3f}   "
        f"({options.threads} threads, {options.rounds} rounds of {options.steps} steps, "
        f"{what}, batch {options.batch}, {options.coupling} pairs{', compiled' if options.compile else ''})"
    )


if __name__ == "__main__":
    main()
