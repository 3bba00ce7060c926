"""`flowkit runs`: what has been trained, and how it stands."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..pipeline.runs import RunState, list_runs
from .show import value_text
from .tables import table

__all__ = ["runs"]

_COLORS = {"complete": "green", "training": "cyan", "stopped": "yellow", "failed": "red", "unreadable": "red"}


def runs(folder: Annotated[Path, typer.Argument(help="The folder that runs are in.")] = Path("runs")) -> None:
    """List the runs below a folder: which are complete, in training, or stopped and can go on."""
    found = list_runs(folder)
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print(f"no run in {folder}")
        return
    rows = table("run", "state", "step", "loss", "metric", "last written", "what")
    for run in found:
        rows.add_row(
            escape(str(run.path)),
            f"[{_COLORS[run.state]}]{run.state}[/]",
            f"{run.step}/{run.steps}" if run.steps else "",
            "" if run.loss is None else f"{run.loss:.4g}",
            escape(run.metric),
            _ago(run.seen),
            escape("; ".join(filter(None, (run.what, _settings(run))))),
        )
    console.print(rows)
    for run in found:
        if run.state == "stopped":
            console.print(f"go on with: {_again(run)}")


def _settings(run: RunState) -> str:
    return ", ".join(f"{name}={value_text(value)}" for name, value in run.settings.items())


def _again(run: RunState) -> str:
    return shlex.join(["flowkit", "train", str(run.path / "config.yaml"), "--out", str(run.path), "--resume"])


def _ago(seen: float | None) -> str:
    if seen is None:
        return "never"
    seconds = max(0.0, time.time() - seen)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
