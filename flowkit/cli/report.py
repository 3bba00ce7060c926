"""`flowkit report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .options import RunArgument

__all__ = ["report"]


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Where to; report.html in the run folder by default.")] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw the pictures and measure samples first, with the newest weights.")
    ] = False,
) -> None:
    """Put what a run folder holds on one page: pictures, metrics, configuration, versions."""
    from ..report import check_page, write_report

    check_page(run, out)
    console = Console(highlight=False, soft_wrap=True)
    if draw:
        from ..pipeline.pipeline import Pipeline
        from .training import print_evaluations

        with console.status("drawing and measuring samples"):
            print_evaluations(Pipeline.load(run).report(run).evaluations, console)
    console.print(f"report    {write_report(run, out)}")
