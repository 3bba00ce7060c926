"""The quality of small models of the plane: flowkit's flow matching beside torchcfm's.

Two tasks, 8 Gaussians -> moons and N(0, I) -> 8 Gaussians, in the scale of torchcfm's examples. Both libraries train
torchcfm's MLP (three hidden layers of 64, SELU) from the same weights on the same pairs, by Adam; each draws its own
times. Then the 2-Wasserstein distance of samples to data, mean +- standard deviation over the seeds, for Euler's method
and for dopri5 (tolerances 1e-5; torchdiffeq's for torchcfm). Data against data of the same size is what a perfect model
would get.

Two more rows are for the time that torchcfm's training took: flowkit's own training, which averages the weights and
lets the learning rate decay, for as many steps as fit into it, with independent pairs and with exact optimal ones.

    pip install torchdiffeq && pip install --no-deps torchcfm
    python benchmarks/quality_2d.py [--steps 10000] [--seeds 5] [--samples 2048] [--batch 256]
"""

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchcfm import ConditionalFlowMatcher
from torchcfm.models import MLP
from torchdiffeq import odeint

import flowkit as fk

RATE, EULER_STEPS = 1e-3, (1, 4, 100)
CENTRES = [[5 * math.cos(k * math.pi / 4), 5 * math.sin(k * math.pi / 4)] for k in range(8)]
GAUSSIANS = fk.create("data", "gaussian_mixture", means=CENTRES, covariances=[math.sqrt(0.1)] * 8)
MOONS = fk.create("data", "moons", noise=0.2)
COUPLING, SOURCE = fk.create("coupling", "independent"), fk.create("source", "gaussian")
EULER, DOPRI5 = fk.create("integrator", "euler"), fk.create("integrator", "dopri5", rtol=1e-5, atol=1e-5)
WASSERSTEIN, CFM = fk.create("metric", "wasserstein"), fk.create("loss", "cfm")
Draw = Callable[[int, torch.Generator], Tensor]


class WithTime(nn.Module):
    """torchcfm's MLP on x and t side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MLP(dim=2, w=64, time_varying=True)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.inner(torch.cat([x, t[:, None]], dim=1))


def gaussians(n: int, generator: torch.Generator) -> Tensor:
    """Eight Gaussians on a circle of radius 5."""
    return GAUSSIANS.draw(n, generator).z


def moons(n: int, generator: torch.Generator) -> Tensor:
    """The two moons, three times as large."""
    return 3 * MOONS.draw(n, generator).z - 1


def noise(n: int, generator: torch.Generator) -> Tensor:
    """The standard normal."""
    return SOURCE.sample(n, (2,), generator)


class Drawn(fk.DataSource, fk.Source):
    """One of these distributions as data and as a source, in its own units."""

    spec = fk.DataSpec((2,))

    def __init__(self, function: Draw) -> None:
        self.function = function

    def draw(self, n: int, generator: torch.Generator | None = None) -> fk.Batch:
        return fk.Batch(self.function(n, generator))

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32) -> Tensor:
        return self.function(n, generator)


TASKS: dict[str, tuple[Draw, Draw, fk.Path]] = {
    "8 Gaussians -> moons": (gaussians, moons, fk.create("path", "linear")),
    "N(0, I) -> 8 Gaussians": (noise, gaussians, fk.create("path", "gaussian", schedule="condot")),
}


def flowkit_loss(model: fk.Model, x0: Tensor, z: Tensor) -> Tensor:
    """The components of flowkit."""
    x0, z, _ = COUPLING.pair(x0, z)
    return CFM(model, x0, z).mean()


def torchcfm_loss(model: fk.Model, x0: Tensor, z: Tensor) -> Tensor:
    """The same regression, by torchcfm."""
    t, x, u = ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow(x0, z)
    return (model.network(x, t) - u).square().mean()


LOSSES = {"flowkit": flowkit_loss, "torchcfm": torchcfm_loss}
EQUAL_TIME = {"flowkit, equal time": "independent", "flowkit ot, equal time": "ot"}


def train(network: nn.Module, path: fk.Path, task: str, library: str, seed: int, steps: int, batch: int) -> fk.Model:
    """The same pairs for the same seed; the times come from torch's global generator."""
    start, end, _ = TASKS[task]
    model = fk.Model(network, fk.create("head", "velocity"), path)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    torch.manual_seed(seed)
    pairs = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        loss = LOSSES[library](model, start(batch, pairs), end(batch, pairs))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def train_by_pipeline(
    network: nn.Module, path: fk.Path, task: str, coupling: str, seed: int, seconds: float
) -> fk.Model:
    """Train as flowkit does, for the given time."""
    start, end, _ = TASKS[task]
    source = SOURCE if start is noise else Drawn(start)

    def fit(network: nn.Module, steps: int) -> tuple[fk.Model, float]:
        builder = fk.Pipeline.builder().data(Drawn(end)).source(source).path(path).coupling(coupling)
        builder = (
            builder.network(network).head("velocity").loss("cfm").sampling("euler", steps=1).evaluation(metrics=[])
        )
        builder = builder.training(steps=steps, batch_size=256, learning_rate=RATE, seed=seed, checkpoint_every=steps)
        pipeline, began = builder.build(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            pipeline.fit(folder)
        return pipeline.model, time.perf_counter() - began

    (_, short), (_, long) = fit(copy.deepcopy(network), 100), fit(copy.deepcopy(network), 600)
    return fit(network, int(500 * seconds / (long - short)))[0]


@torch.no_grad()
def distances(model: fk.Model, x0: Tensor, data: Tensor, library: str) -> list[float]:
    """One for each column of the table."""
    found = [fk.sample(model, x0, integrator=EULER, steps=steps) for steps in EULER_STEPS]
    if library == "torchcfm":
        settings = {"rtol": 1e-5, "atol": 1e-5, "method": "dopri5"}
        found.append(odeint(lambda t, x: model.velocity(x, t), x0, torch.tensor([0.0, 1.0]), **settings)[-1])
    else:
        found.append(fk.sample(model, x0, integrator=DOPRI5, steps=1))
    return [WASSERSTEIN.measure(fk.Batch(x), fk.Batch(data)) for x in found]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"steps": 10_000, "seeds": 5, "samples": 2048, "batch": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = [*(f"Euler, {steps}" for steps in EULER_STEPS), "dopri5"]
    print(f"{'2-Wasserstein distance':24s}{'':26s}" + "".join(f"{column:>18s}" for column in columns))
    for task, (start, end, path) in TASKS.items():
        results: dict[str, list[list[float]]] = {library: [] for library in (*LOSSES, *EQUAL_TIME)}
        floor, seconds = [], dict.fromkeys(LOSSES, 0.0)
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            network, draws = WithTime(), torch.Generator().manual_seed(1000 + seed)
            x0, data, again = (draw(options.samples, draws) for draw in (start, end, end))
            floor.append(WASSERSTEIN.measure(fk.Batch(again), fk.Batch(data)))
            for library in LOSSES:
                began = time.perf_counter()
                model = train(copy.deepcopy(network), path, task, library, seed, options.steps, options.batch)
                seconds[library] = time.perf_counter() - began
                results[library].append(distances(model, x0, data, library))
            for name, coupling in EQUAL_TIME.items():
                model = train_by_pipeline(copy.deepcopy(network), path, task, coupling, seed, seconds["torchcfm"])
                results[name].append(distances(model, x0, data, "flowkit"))
        for name, rows in results.items():
            print(f"{task:24s}{name:26s}" + "".join(f"{spread(column):>18s}" for column in zip(*rows, strict=True)))
        print(f"{'':24s}{'data':26s}{spread(floor):>18s}", flush=True)


def spread(values: list[float]) -> str:
    """Mean +- standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.3f} +- {deviation:.3f}"


if __name__ == "__main__":
    main()
