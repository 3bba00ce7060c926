"""Sampling with flowkit against a bare loop, flow_matching's ODESolver and torchdiffeq, on the same network.

Fixed steps: Euler from t = 0 to 1, of flowkit's `mlp` and of the MLP of torchcfm's examples (three hidden layers of 64,
SELU), for what compiling saves depends on the network. Adaptive, of the `mlp`: dopri5 at the same error; torchdiffeq's
tolerance is given, and flowkit's is the loosest of a ladder that errs no more. Errors are root mean squares against a
solution of tolerance 1e-10. All run in one process, in interleaved rounds, and medians are compared.

    python benchmarks/sampling.py [--rounds 15] [--points 4096] [--steps 100] [--width 64] [--depth 3] [--images]

With `--images` it is the U-Net and the diffusion transformer instead, untrained, with labels: 256 images of 1 x 8 x 8,
10 steps of Euler, compiled and not.

Needs `pip install torchdiffeq flow_matching` and `pip install --no-deps torchcfm`, beside flowkit.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from quality_2d import WithTime
from torch import Tensor, nn
from torchdiffeq import odeint

import flowkit as fk
from flowkit.pipeline.compiled import compiled

LADDER = [10 ** (-k / 8) for k in range(16, 56)]
"""Tolerances from 1e-2 to 2e-7."""


def trained(network: nn.Module) -> fk.Model:
    """A flow to the moons."""
    path = fk.create("path", "gaussian", schedule="condot")
    model = fk.Model(network, fk.create("head", "velocity"), path)
    optimizer, data = torch.optim.Adam(network.parameters(), lr=2e-3), fk.create("data", "moons")
    for _ in range(1000):
        z = data.draw(256).z
        x0, t = torch.randn_like(z), torch.rand(len(z))
        x = path.sample(x0, z, t)
        loss = (model.velocity(x, t) - path.velocity(x, x0, z, t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


class Counted(nn.Module):
    """The network as the others call it: time first, a single number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return self.network(x, t.to(x).expand(len(x)))


class Wrapped(ModelWrapper):
    """The same for flow_matching, state first."""

    def forward(self, x: Tensor, t: Tensor, **extras: Tensor) -> Tensor:
        return self.model(x, t.expand(len(x)))


def bare(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    """The loop that people write."""
    for i in range(steps):
        t = torch.full((len(x),), i / steps)
        x = x + network(x, t) / steps
    return x


def race(runs: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """The median time of each, in seconds; every round in another order, for whoever comes first is at an advantage."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):  # the first round warms up
        for name in random.sample(list(runs), len(runs)):
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def fixed(model: fk.Model, x: Tensor, steps: int, rounds: int) -> None:
    """Euler, six times."""
    euler, ode, solver = fk.create("integrator", "euler"), fk.ODE(model), ODESolver(Wrapped(model.network))
    other, times = Counted(model.network), torch.linspace(0, 1, steps + 1)
    twin = compiled(model)
    runs = {
        "bare loop": lambda: bare(model.network, x, steps),
        "flowkit": lambda: fk.sample(model, x, integrator=euler, steps=steps),
        "flowkit, integrator alone": lambda: euler.integrate(ode, x, times),
        "flowkit, compiled network": lambda: fk.sample(twin, x, integrator=euler, steps=steps),
        "flow_matching": lambda: solver.sample(x, step_size=1 / steps, method="euler"),
        "torchdiffeq": lambda: odeint(other, x, times, method="euler")[-1],
    }
    ends = {name: run() for name, run in runs.items()}
    for name, end in ends.items():
        assert torch.allclose(end, ends["bare loop"], atol=1e-4), name
    print(f"Euler, {steps} steps, {len(x)} points")
    medians = race(runs, rounds)
    for name, seconds in medians.items():
        print(f"  {name:26s} {1e3 * seconds:7.1f} ms   {seconds / medians['bare loop']:5.3f} of the bare loop")


def adaptive(model: fk.Model, x: Tensor, tolerance: float, rounds: int) -> None:
    """dopri5, three times, at the same error."""
    twin = compiled(model)
    other, ends = Counted(model.network), torch.tensor([0.0, 1.0])

    def solver(tolerance: float, per_sample: bool = False) -> fk.Integrator:
        return fk.create("integrator", "dopri5", rtol=tolerance, atol=tolerance, per_sample=per_sample)

    exact = solver(1e-10).integrate(fk.ODE(model.double()), x.double(), [0.0, 1.0])
    model.float()

    def error(found: Tensor) -> float:
        return float((found - exact).square().mean().sqrt())

    def theirs() -> Tensor:
        return odeint(other, x, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]

    goal, calls = error(theirs()), other.calls
    runs, notes = {"torchdiffeq": theirs}, {"torchdiffeq": (tolerance, calls, goal)}
    for name, per_sample, drawn in (
        ("flowkit, whole batch", False, model),
        ("whole batch, compiled", False, twin),
        ("flowkit, each sample", True, model),
    ):
        for ours in LADDER:
            ode = fk.ODE(drawn)
            found = error(solver(ours, per_sample).integrate(ode, x, [0.0, 1.0]))
            if found <= goal:
                break
        integrator, notes[name] = solver(ours, per_sample), (ours, ode.evaluations, found)
        runs[name] = lambda solve=integrator.integrate, drawn=drawn: solve(fk.ODE(drawn), x, [0.0, 1.0])
    medians = race(runs, rounds)
    print(f"dopri5, {len(x)} points, error of torchdiffeq at the tolerance {tolerance:g}")
    for name, seconds in medians.items():
        tolerance, evaluations, found = notes[name]
        print(
            f"  {name:22s} {1e3 * seconds:7.1f} ms   {seconds / medians['torchdiffeq']:5.3f} of torchdiffeq   "
            f"{evaluations:4d} evaluations, error {found:.1e}, tolerance {tolerance:.1e}"
        )


def images(rounds: int) -> None:
    """Networks of images, compiled and as they are."""
    path, euler = fk.create("path", "gaussian", schedule="condot"), fk.create("integrator", "euler")
    x, y = torch.randn(256, 1, 8, 8), torch.randint(10, (256,))
    for name, settings in {"unet": {}, "dit": {"width": 64}}.items():
        network = fk.create("network", name, event_shape=x.shape[1:], num_classes=10, **settings)
        model = fk.Model(network, fk.create("head", "velocity"), path).eval()
        runs = {
            kind: lambda model=model: fk.sample(model, x, y, integrator=euler, steps=10)
            for kind, model in {"as it is": model, "compiled": compiled(model)}.items()
        }
        medians = race(runs, rounds)
        plain = medians["as it is"]
        print(f"{name}: {1e3 * plain:.0f} ms, compiled {medians['compiled'] / plain:.3f} of it")


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rounds": 15, "points": 4096, "steps": 100, "width": 64, "depth": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--images", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds")
    if options.images:
        with torch.no_grad():
            images(options.rounds)
        return
    mlp = fk.create("network", "mlp", event_shape=(2,), width=options.width, depth=options.depth)
    models = {
        f"mlp {options.depth} x {options.width}, SiLU": trained(mlp),
        "torchcfm's 3 x 64, SELU": trained(WithTime()),
    }
    x = torch.randn(options.points, 2)
    with torch.no_grad():
        for name, model in models.items():
            print(name, end=": ")
            fixed(model, x, options.steps, options.rounds)
        model = next(iter(models.values()))
        for tolerance in (1e-3, 1e-4, 1e-5):
            adaptive(model, x, tolerance, options.rounds)


if __name__ == "__main__":
    main()
