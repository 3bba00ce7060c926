"""`flowkit new`: a plugin package to start from."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..scaffold import new_plugin
from .completion import complete_kind

__all__ = ["new"]


def new(
    name: Annotated[str, typer.Argument(help="Of the distribution, such as flowkit-spiral.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="The kind of component that it starts with; path by default, several are possible.",
            autocompletion=complete_kind,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; ./NAME by default.")] = None,
    component: Annotated[
        str | None, typer.Option(help="What configurations call the component; made of NAME by default.")
    ] = None,
) -> None:
    """Write a plugin package: a working component of a kind, its tests, a README, a workflow for CI."""
    plugin = new_plugin(name, kind or ("path",), out, component)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{plugin.folder}", markup=False)
    for file in sorted(plugin.files):
        console.print(f"  {file}", markup=False)
    for note in plugin.notes:
        console.print("[yellow]note[/] ", end="")
        console.print(note, markup=False)
    console.print("\nnext:", markup=False)
    console.print(f"  cd {shlex.quote(str(plugin.folder))} && pip install -e '.[test]'", markup=False)
    console.print("  pytest", markup=False)
    console.print(f"  flowkit check {plugin.distribution}", markup=False)
