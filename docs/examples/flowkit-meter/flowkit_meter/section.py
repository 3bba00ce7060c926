"""The section of a report that says what a run cost. It needs no torch, like reports themselves."""

import json
from pathlib import Path

from flowkit.plugins import Section

__all__ = ["cost_section"]


def cost_section(folder: Path) -> Section | None:
    """The account of a run folder; None if it has none."""
    try:
        lines = [json.loads(line) for line in (folder / "meter.jsonl").read_text().splitlines()]
    except FileNotFoundError:
        return None
    steps, seconds, cpu = (sum(line[name] for line in lines) for name in ("steps", "seconds", "cpu_seconds"))
    memory, gpu = (max(line[name] for line in lines) / 2**20 for name in ("memory", "gpu_memory"))
    text = f"{steps} steps took {seconds:.0f} s, and {cpu:.0f} s of CPU time; the process held up to {memory:.0f} MiB"
    text += f", a GPU {gpu:.0f} MiB." if gpu else "."
    if len(lines) > 1:
        text += f"\n\nTraining was taken up again {len(lines) - 1} times."
    return Section("What it cost", text=text)
