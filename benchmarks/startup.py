"""How soon the commands that need no torch answer, and when training takes its first step, beside `import torch`.

    python benchmarks/startup.py [--rounds 7]

Every command is a process of its own; the rounds interleave them, and medians are compared. The first step of
`flowkit train moons` has been taken when `metrics.jsonl` is written last: here it is told to stop after it, and
what comes then, the checkpoint, does not count.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REFERENCE, FIRST_STEP = "import torch", "the first step"


def main() -> None:
    """Print a line for every command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    python, flowkit = sys.executable, [sys.executable, "-m", "flowkit"]
    commands = {
        REFERENCE: [python, "-c", "import torch"],
        "import flowkit": [python, "-c", "import flowkit"],
        "flowkit --help": [*flowkit, "--help"],
        "flowkit list": [*flowkit, "list"],
        "flowkit plugins": [*flowkit, "plugins"],
        "a malformed file": [*flowkit, "train", "broken.yaml"],
        "an unknown name": [*flowkit, "train", "moons", "path=gausian"],
        FIRST_STEP: [*flowkit, "train", "moons", "training.steps=1", "--no-report", "--overwrite", "--out", "run"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "broken.yaml").write_text("data: moons\npath: [")
        for _ in range(rounds + 1):  # the first round warms the disk's cache
            for name, command in commands.items():
                start = time.time()
                subprocess.run(command, cwd=folder, capture_output=True, check=False)
                stepped = Path(folder, "run/metrics.jsonl")
                end = stepped.stat().st_mtime if name == FIRST_STEP else time.time()
                times[name].append(end - start)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    for name, seconds in medians.items():
        print(f"{name:20s} {seconds:6.2f} s   {seconds / medians[REFERENCE]:5.2f} of `{REFERENCE}`")


if __name__ == "__main__":
    main()
