"""`flowkit report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .sampling import RunArgument

__all__ = ["report"]


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Where to; report.html in the run folder by default.")] = None,
) -> None:
    """Put what a run folder holds on one page: pictures, metrics, configuration, versions."""
    from ..report import write_report

    page = write_report(run, out)
    Console(highlight=False, soft_wrap=True).print(f"report    {page}")
