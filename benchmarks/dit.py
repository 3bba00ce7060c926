"""DiT-B/4 on 32 x 32 x 4 latents: a training step of flowkit against hand-tuned loops, and sampling against diffusers'.

Training, in bf16: all train the same network on the same labelled noise with conditional flow matching, AdamW, a
clipped gradient and averaged weights. The hand-tuned loops have autocast, fused AdamW and lists of tensors; one
compiles its loss and gradient, the other has CUDA graphs made of them as well (`mode="reduce-overhead"`). flowkit's is
`Pipeline.fit` with `training.compile=true`. They take turns, and medians are compared. The share of the device's
arithmetic (MFU) is that of the network's operations, counted by PyTorch, in what `--peak` says, or in what a large
product of matrices gets here.

Sampling, with weights in bf16: Euler with classifier-free guidance, by flowkit, by flowkit with a compiled network, and
by the loop of diffusers' pipelines with its FlowMatchEulerDiscreteScheduler.

    python benchmarks/dit.py [--rounds 5] [--steps 20] [--batch 256] [--peak 989] [--tiny]

`--tiny` has a network for a CPU, to see that all of it runs. Needs `pip install diffusers`, beside flowkit.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training_step import CLIP, EMA_DECAY, RATE, Turns, learning_rate, with_flowkit

import flowkit as fk
from flowkit.pipeline.compiled import compiled

EVENT, CLASSES, DROPOUT, SCALE = (4, 32, 32), 1000, 0.1, 4.0
BASE = {"width": 768, "depth": 12, "heads": 12, "patch": 4}
TINY = {"width": 32, "depth": 2, "heads": 2, "patch": 8}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hand_tuned(network: nn.Module, data: fk.Batch, batch: int, total: int, mode: str | None) -> Callable[[int], None]:
    """A loop with what PyTorch's documentation advises."""
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)
    averages, step = [parameter.detach().clone() for parameter in parameters], 0

    @torch.compile(mode=mode)
    def losses(z: Tensor, y: Tensor) -> Tensor:
        x0, t = torch.randn_like(z), torch.rand(len(z), device=z.device)
        y = torch.where(torch.rand(len(z), device=z.device) < DROPOUT, -1, y)
        t_ = t[:, None, None, None]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            output = network(t_ * z + (1 - t_) * x0, t, y)
        return (output.float() - (z - x0)).square().mean()

    def run(steps: int) -> None:
        nonlocal step
        for _ in range(steps):
            index = torch.randint(len(data.z), (batch,), device=DEVICE)
            torch.compiler.cudagraph_mark_step_begin()
            losses(data.z[index], data.y[index]).backward()
            nn.utils.clip_grad_norm_(parameters, CLIP, foreach=True)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, total)
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1 - EMA_DECAY)
            step += 1
        synchronize()

    return run


def training(network: nn.Module, options: argparse.Namespace, peak: float) -> None:
    """Print the time of a step, each way, and what it makes of the device."""
    generator = torch.Generator().manual_seed(0)
    data = fk.Batch(
        torch.randn(4096, *EVENT, generator=generator), torch.randint(CLASSES, (4096,), generator=generator)
    )
    total = (options.rounds + 1) * options.steps
    on_device = fk.Batch(data.z.to(DEVICE), data.y.to(DEVICE))
    others = {
        name: hand_tuned(copy.deepcopy(network).to(DEVICE), on_device, options.batch, total, mode)
        for name, mode in (("hand-tuned, compiled", None), ("hand-tuned, CUDA graphs", "reduce-overhead"))
    }
    turns = Turns(others, options.steps)
    pipeline = with_flowkit(
        copy.deepcopy(network),
        fk.InMemory(data.z, data.y),
        options.batch,
        total,
        log_every=options.steps,
        checkpoint_every=total + 1,
        compile=True,
        mixed_precision="bf16",
        condition_dropout=DROPOUT,
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline.fit(folder, callbacks=[turns])
    with FlopCounterMode(display=False) as counter:
        x = torch.randn(options.batch, *EVENT, device=DEVICE)
        network(x, torch.rand(options.batch, device=DEVICE), on_device.y[: options.batch]).sum().backward()
    operations = counter.get_total_flops()
    weights = sum(parameter.numel() for parameter in network.parameters())
    print(f"training, {weights / 1e6:.1f} million weights, batch {options.batch}, {operations / 1e12:.2f} Tflop a step")
    medians = {name: statistics.median(times) for name, times in turns.times.items()}
    best = min(seconds for name, seconds in medians.items() if name in others)
    for name, seconds in medians.items():
        rate = operations / seconds
        print(
            f"  {name:26s} {1e3 * seconds:8.2f} ms   {seconds / best:5.3f} of the best hand-tuned loop   "
            f"{rate / 1e12:6.1f} TFLOP/s, MFU {100 * rate / peak:.0f}%"
        )


def pipeline_loop(network: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """What diffusers' pipelines do, with time and velocity turned round: there t = 1 is noise."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=DEVICE)
    both = torch.cat([y, torch.full_like(y, -1)])
    for time_step in scheduler.timesteps:
        t = (1 - time_step / 1000).expand(2 * len(x)).to(x.dtype)
        velocity, free = network(torch.cat([x] * 2), t, both).chunk(2)
        x = scheduler.step(-(free + SCALE * (velocity - free)), time_step, x, return_dict=False)[0]
    return x


@torch.no_grad()
def sampling(network: nn.Module, batch: int, rounds: int, steps: int = 50) -> None:
    """Print the time of a batch, each way."""
    path = fk.create("path", "gaussian", schedule="condot")
    model = fk.Model(network, fk.create("head", "velocity"), path).to(DEVICE).eval()
    twin = compiled(model)
    x = torch.randn(batch, *EVENT, device=DEVICE, dtype=torch.bfloat16)
    y = torch.arange(batch, device=DEVICE) % CLASSES
    euler, guidance = fk.create("integrator", "euler"), fk.create("guidance", "classifier_free", scale=SCALE)
    runs: dict[str, Callable[[], Tensor]] = {
        "loop of diffusers": lambda: pipeline_loop(network, x, y, steps),
        "flowkit": lambda: fk.sample(model, x, integrator=euler, steps=steps, y=y, guidance=guidance),
        "flowkit, compiled": lambda: fk.sample(twin, x, integrator=euler, steps=steps, y=y, guidance=guidance),
    }
    ends = {name: run().float() for name, run in runs.items()}
    exact = fk.sample(copy.deepcopy(model).float(), x.float(), integrator=euler, steps=steps, y=y, guidance=guidance)
    errors = {name: float((end - exact).square().mean().sqrt() / exact.std()) for name, end in ends.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"sampling, {batch} images, {steps} steps of Euler with guidance")
    for name, seconds in medians.items():
        ratio = seconds / medians["loop of diffusers"]
        print(
            f"  {name:26s} {1e3 * seconds:8.1f} ms   {ratio:5.3f} of the loop   off by {errors[name]:.1e} of float32's"
        )


def product_rate() -> float:
    """Operations a second of a large product of matrices in bfloat16."""
    side = 8192 if DEVICE.type == "cuda" else 1024
    a = torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16)
    times = []
    for _ in range(10):
        synchronize()
        start = time.perf_counter()
        a @ a
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rounds": 5, "steps": 20, "batch": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    product = product_rate()
    peak = 1e12 * options.peak if options.peak else product
    print(f"{torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'CPU'}, torch {torch.__version__}", end=", ")
    print(f"a product of matrices gets {product / 1e12:.1f} TFLOP/s, MFU is of {peak / 1e12:.1f}")
    network = fk.create("network", "dit", **(TINY if options.tiny else BASE), event_shape=EVENT, num_classes=CLASSES)
    network = network.to(DEVICE)
    training(network, options, peak)
    with torch.no_grad():
        for parameter in network.parameters():  # else all velocities would be 0
            parameter.add_(0.02 * torch.randn_like(parameter))
    for batch in (8, 64):
        sampling(network.bfloat16(), batch, options.rounds)


if __name__ == "__main__":
    main()
