"""`flowkit doctor`: whether flowkit works here, and how fast."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["doctor"]

_COLORS = {"ok": "green", "note": "yellow", "problem": "red"}


def doctor(
    folder: Annotated[Path, typer.Argument(help="Where runs go.")] = Path("runs"),
    compiling: Annotated[
        bool, typer.Option("--compile", help="Also try torch.compile, which takes up to two minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of findings.")] = False,
) -> None:
    """Look at the environment: what is there, what is slow or broken, and what to do about it."""
    from ..doctor.diagnose import diagnose

    found = diagnose(folder, compiling=compiling)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        rows = Table(box=None, pad_edge=False, show_header=False)
        for column in ("mark", "topic"):
            rows.add_column(column, no_wrap=True)
        rows.add_column("seen", overflow="fold")
        for finding in found:
            rows.add_row(f"[{_COLORS[finding.mark]}]{finding.mark}[/]", finding.topic, escape(finding.seen))
            if finding.advice:
                rows.add_row("", "", f"[bold]-> {escape(finding.advice)}[/]")
        console = Console(highlight=False)
        console.print(rows)
        problems, notes = (sum(finding.mark == mark for finding in found) for mark in ("problem", "note"))
        console.print(f"\n{_counted(problems, 'problem')}, {_counted(notes, 'note')}")
    if any(finding.mark == "problem" for finding in found):
        raise typer.Exit(1)


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
