"""`flowkit list` and `flowkit plugins`: what is installed."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..plugins.manager import PluginRecord, installed_plugins
from ..plugins.notes import notes
from .completion import complete_kind
from .tables import table

__all__ = ["list_components", "plugins"]


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(help="A kind, such as path; or recipe. All by default.", autocompletion=complete_kind),
    ] = None,
) -> None:
    """List the components that are installed, and the recipes."""
    manager = installed_plugins()
    registry = manager.registry
    rows = table("kind", "name", "what it is", "from")
    if kind != "recipe":
        for entry in registry.of_kind(kind) if kind else registry:
            component = entry.component
            rows.add_row(component.kind, component.name, escape(component.summary), entry.distribution)
    if kind in (None, "recipe"):
        for recipe, record in manager.recipes:
            rows.add_row("recipe", recipe.name, escape(recipe.summary), record.distribution)
    console = Console(highlight=False)
    if rows.row_count:
        console.print(rows)
        present = {entry.component.kind for entry in registry}
        empty = [name for name in registry.kinds if name not in present]
        if kind is None and empty:
            console.print(f"\nkinds without a component: {', '.join(empty)} (flowkit show KIND)")
    elif kind:
        console.print(f"no installed plugin provides a {kind} (flowkit show {kind} says what one gives)")
    else:
        console.print("no components: no plugin is loaded (see: flowkit plugins)")
    _print_notes()


def plugins() -> None:
    """List the plugins: what each provides, or why it does not load."""
    rows = table("plugin", "version", "status", "provides")
    records = installed_plugins().records
    for record in records:
        color = {"ok": "green", "failed": "red", "disabled": "yellow"}[record.status]
        rows.add_row(
            record.name, record.version, f"[{color}]{record.status}[/]", escape(record.error or _provided(record))
        )
    Console().print(rows if records else "no plugin is installed")
    _print_notes()


def _provided(record: PluginRecord) -> str:
    names = [f"kind {kind.name}" for kind in record.kinds]
    names += [component.name for component in record.components]
    names += [recipe.name for recipe in record.recipes]
    names += [f"command {command.name}" for command in record.commands]
    return ", ".join(names + [f"hook {hook.removeprefix('flowkit_')}" for hook in record.hooks])


def _print_notes() -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for note in notes(installed_plugins()):
        console.print(note, markup=False, style="yellow")
