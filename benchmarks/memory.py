"""Peak memory of training with flowkit beside that of a hand-written loop of the same work, its averaged weights too.

Each loop runs in a process of its own. Both import the same modules, make the same data and the same network, and then
note what they hold; the peak counts from there. On a CPU that is resident memory, on a CUDA device what PyTorch has
allocated there. For flowkit it is read twice: after half of the steps, and at the end, with a checkpoint in between and
one last, which the hand-written loop does not write. The rounds interleave the loops, and medians are compared.

    python benchmarks/memory.py [--rounds 3] [--steps 6] [--device cuda]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from training_step import hand_written, with_flowkit

import flowkit as fk
import flowkit.training.trainer  # what `fit` imports belongs to neither loop

MLP, UNET = CASES = ("mlp", "unet")
LOOPS = ("hand-written", "flowkit")
MIB = 2**20


def make(case: str) -> tuple[torch.Tensor, nn.Module, int, str]:
    """The data, the network, the batch size, and what that is in words."""
    torch.manual_seed(0)
    if case == MLP:
        data, batch = torch.randn(100_000, 64), 1024
        network = fk.create("network", "mlp", width=2560, depth=4, event_shape=(64,))
    else:
        data, batch = torch.randn(10_000, 3, 32, 32), 64
        network = fk.create("network", "unet", width=64, event_shape=(3, 32, 32))
    weights = sum(parameter.numel() for parameter in network.parameters())
    what = f"{case} of {weights / 1e6:.1f} million weights on {len(data)} points"
    return data, network, batch, f"{what} of {' x '.join(map(str, data.shape[1:]))}, batch {batch}"


class Peak:
    """The peak of memory since this was made, over what was held then."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
            self.before = _resident("VmRSS")

    def bytes(self) -> int:
        """How much it is by now."""
        now = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else _resident("VmHWM")
        return now - self.before


def _resident(entry: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(entry + ":")[2].split()[0])


class Reading(fk.Callback):
    """Reads the peak before the first checkpoint."""

    def __init__(self, peak: Peak) -> None:
        self.peak, self.bytes = peak, 0

    def logged(self, state: fk.TrainingState) -> None:
        self.bytes = self.bytes or self.peak.bytes()


def measure(case: str, loop: str, steps: int, device: torch.device) -> dict[str, int]:
    """The peaks of one loop in this process."""
    data, network, batch, _ = make(case)
    if loop == "hand-written":
        data, network = data.to(device), network.to(device)
        peak = Peak(device)
        hand_written(network, data, batch, steps)(steps)
        return {"step": peak.bytes()}
    half = steps // 2
    pipeline = with_flowkit(network, fk.InMemory(data), batch, steps, log_every=half, checkpoint_every=half).to(device)
    reading = Reading(Peak(device))
    with tempfile.TemporaryDirectory() as folder:
        pipeline.fit(folder, callbacks=[reading])
    return {"step": reading.bytes, "checkpoint": reading.peak.bytes()}


def main() -> None:
    """Print a line for each loop, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # what a process of its own measures
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.steps, options.device)))
        return
    arguments = ["--steps", str(options.steps), "--device", str(options.device)]
    for case in CASES:
        peaks: dict[str, list[dict[str, int]]] = {loop: [] for loop in LOOPS}
        for _ in range(options.rounds):
            for loop in LOOPS:
                command = [sys.executable, __file__, *arguments, "--only", case, loop]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks[loop].append(json.loads(done.stdout.splitlines()[-1]))
        base = statistics.median(peak["step"] for peak in peaks["hand-written"])
        print(make(case)[-1])
        print(f"  hand-written             {base / MIB:8.1f} MiB")
        for part in ("step", "checkpoint"):
            ours = statistics.median(peak[part] for peak in peaks["flowkit"])
            what = "flowkit" if part == "step" else "flowkit, checkpoints"
            print(f"  {what:24s} {ours / MIB:8.1f} MiB   {ours / base:.3f} of it")


if __name__ == "__main__":
    main()
