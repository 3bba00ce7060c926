"""What optimal pairs cost a training step: flowkit's and torchcfm's, each against its own step with independent pairs.

Four loops train the same network on the same two half circles, and take turns, a round each, in one process: flowkit
with the couplings `independent` and `ot` (the whole of `Pipeline.fit`; optimal pairs are prepared in a second thread),
and torchcfm's two flow matchers in the loop of its examples, with one thread as flowkit takes for such a network.
torchcfm draws its pairs from the exact plan with replacement; the plan itself is the same, and the last lines compare
its cost and time for one batch.

    python benchmarks/coupling_step.py [--rounds 9] [--steps 50] [--batch 256] [--width 64] [--depth 3]
"""

import argparse
import copy
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher
from torchcfm.optimal_transport import OTPlanSampler

import flowkit as fk


class Turns(fk.Callback):
    """Runs `Pipeline.fit` in a thread of its own, a round whenever it is called."""

    def __init__(
        self, coupling: str, network: nn.Module, data: torch.Tensor, steps: int, rounds: int, batch: int
    ) -> None:
        self.steps, self.go, self.done = steps, threading.Semaphore(0), threading.Semaphore(0)
        builder = fk.Pipeline.builder().data(fk.InMemory(data)).network(network).coupling(coupling)
        total = (rounds + 1) * steps
        settings = {"checkpoint_every": total + 1, "log_every": steps, "ema_decay": 0.999}
        self.pipeline = builder.training(steps=total, batch_size=batch, **settings).evaluation(metrics=[]).build()
        threading.Thread(target=self.fit, daemon=True).start()
        self.done.acquire()

    def fit(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.pipeline.fit(folder, callbacks=[self])

    def __call__(self) -> None:
        self.go.release()
        self.done.acquire()

    def training_started(self, state: fk.TrainingState) -> None:
        self.done.release()
        self.go.acquire()

    def logged(self, state: fk.TrainingState) -> None:
        self.done.release()
        if state.step < state.steps:
            self.go.acquire()


def torchcfm_loop(matcher: ConditionalFlowMatcher, network: nn.Module, data: torch.Tensor, steps: int, batch: int):
    """The loop of torchcfm's examples."""
    optimizer = torch.optim.Adam(network.parameters())

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            z = data[torch.randint(len(data), (batch,))]
            t, x, u = matcher.sample_location_and_conditional_flow(torch.randn_like(z), z)
            loss = (network(x, t) - u).square().mean()
            loss.backward()
            optimizer.step()

    return run


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_plans(data: torch.Tensor, batch: int, rounds: int) -> None:
    """The cost of either plan for the same batches, and the time it takes to have the pairs."""
    coupling, sampler = fk.create("coupling", "ot"), OTPlanSampler("exact")
    costs, times = [], []
    for _ in range(rounds):
        x0, z = torch.randn(batch, 2), data[torch.randint(len(data), (batch,))]
        ours, z_of_ours, _ = coupling.pair(x0, z)
        plan = torch.from_numpy(sampler.get_map(x0, z))
        cost = torch.cdist(x0.double(), z.double()).square()
        costs.append((float((ours - z_of_ours).double().square().sum(1).mean()), float((plan * cost).sum())))
        times.append((seconds(lambda: coupling.pair(x0, z)), seconds(lambda: sampler.sample_plan(x0, z))))  # noqa: B023
    (our_cost, their_cost), (our_time, their_time) = np.mean(costs, 0), np.median(times, 0)
    print(f"cost of a plan: flowkit {our_cost:.9f}, torchcfm {their_cost:.9f}")
    print(f"time of a pairing: flowkit {1e3 * our_time:.2f} ms, torchcfm {1e3 * their_time:.2f} ms")


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"rounds": 9, "steps": 50, "batch": 256, "width": 64, "depth": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = fk.create("data", "moons").draw(20_000, torch.Generator().manual_seed(0)).z
    network = fk.create("network", "mlp", width=options.width, depth=options.depth, event_shape=(2,))
    steps, batch = options.steps, options.batch
    loops: dict[str, Callable[[], None]] = {
        f"flowkit {name}": Turns(name, copy.deepcopy(network), data, steps, options.rounds, batch)
        for name in ("independent", "ot")
    }
    for name, matcher in (("plain", ConditionalFlowMatcher), ("ot", ExactOptimalTransportConditionalFlowMatcher)):
        loops[f"torchcfm {name}"] = torchcfm_loop(matcher(sigma=0.0), copy.deepcopy(network), data, steps, batch)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for round in range(options.rounds + 1):
        for name, loop in loops.items():
            elapsed = seconds(loop) / steps
            if round:  # the first round warms up
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:20s} {1e3 * median:6.2f} ms a step")
    for ours, plain in (("flowkit ot", "flowkit independent"), ("torchcfm ot", "torchcfm plain")):
        ratios = [a / b for a, b in zip(times[ours], times[plain], strict=True)]
        print(f"{ours} / {plain}: {medians[ours] / medians[plain]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    compare_plans(data, batch, options.rounds)


if __name__ == "__main__":
    main()
