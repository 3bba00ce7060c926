"""What fifty more plugins of twenty components each cost the commands that need no torch.

    python benchmarks/many_plugins.py [--plugins 50] [--components 20] [--rounds 9]

The plugins are written into a temporary site directory as an installer would leave them. Every command is a process of
its own, with and without that directory on the path; the rounds interleave them, and medians are compared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.1
"""Seconds that `flowkit --help` may take longer."""

METADATA = "Metadata-Version: 2.1\nName: flowkit-many{i}\nVersion: 1.0\n"
PLUGIN = '''"""A plugin of many."""

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components():
    for i in range({components}):
        yield Component("path", f"path{number}_{{i}}", f"flowkit_many{number}.paths:Path{{i}}", "one of many")
'''


def install(site: Path, number: int, components: int) -> None:
    """Write one distribution with a plugin."""
    package, info = site / f"flowkit_many{number}", site / f"flowkit_many{number}-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(PLUGIN.format(number=number, components=components))
    (info / "METADATA").write_text(METADATA.format(i=number))
    (info / "entry_points.txt").write_text(f"[flowkit]\nmany = flowkit_many{number}.plugin\n")


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """How long a process takes."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for every command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    flowkit = [sys.executable, "-m", "flowkit"]
    tab = {"_FLOWKIT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "flowkit show path g"}
    code = "import sys; sys.argv = ['flowkit']; from flowkit.cli.main import main; main()"
    commands = {
        "flowkit --help": ([*flowkit, "--help"], {}),
        "flowkit list": ([*flowkit, "list"], {}),
        "flowkit plugins": ([*flowkit, "plugins"], {}),
        "flowkit show path g<TAB>": ([sys.executable, "-c", code], tab),
    }
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.plugins):
            install(Path(folder), number, options.components)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds + 1):  # the first round compiles the plugins and warms the disk's cache
            for name, (command, extra) in commands.items():
                environment = {**os.environ, **extra}
                without = seconds(command, environment)
                with_them = seconds(command, {**environment, "PYTHONPATH": folder})
                times[name].append((without, with_them))
    print(f"{options.plugins} plugins of {options.components} components, medians of {options.rounds} rounds")
    for name, pairs in times.items():
        without, with_them = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
        added = statistics.median(b - a for a, b in pairs[1:])
        judged = f"   (limit {1000 * LIMIT:.0f} ms)" if name == "flowkit --help" else ""
        print(f"{name:26s} {without:6.3f} s   with them {with_them:6.3f} s   added {1000 * added:5.0f} ms{judged}")


if __name__ == "__main__":
    main()
