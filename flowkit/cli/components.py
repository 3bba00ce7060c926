"""`flowkit list`, `flowkit show`, `flowkit plugins`: what is installed."""

import inspect
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config.form import REQUIRED, form_of
from ..plugins.manager import installed_plugins
from ..plugins.registry import Registry

__all__ = ["list_components", "plugins", "show"]


def list_components(
    kind: Annotated[str | None, typer.Argument(help="A kind, such as path; or recipe. All by default.")] = None,
) -> None:
    """List the components that are installed, and the recipes."""
    manager = installed_plugins()
    table = _table("kind", "name", "what it is", "from")
    if kind != "recipe":
        entries = manager.registry.of_kind(kind) if kind else list(manager.registry)
        for entry in entries:
            component = entry.component
            table.add_row(component.kind, component.name, escape(component.summary), entry.distribution)
    if kind in (None, "recipe"):
        for recipe, record in manager.recipes:
            table.add_row("recipe", recipe.name, escape(recipe.summary), record.distribution)
    console = Console()
    if table.row_count:
        console.print(table)
    else:
        console.print("no components: no plugin is loaded (see: flowkit plugins)")
    _warn_of_failures()


def show(
    kind: Annotated[str, typer.Argument(help="Its kind, such as path; or recipe.")],
    name: Annotated[str, typer.Argument(help="Its name, such as gaussian.")],
) -> None:
    """Show one component: what it is, its settings, and where it comes from; or the text of a recipe."""
    if kind == "recipe":
        from ..pipeline.recipes import recipe_text

        print(recipe_text(name, installed_plugins()), end="")
        return
    registry = installed_plugins().registry
    entry = registry.find(kind, name)
    cls = registry.load(entry)
    form = form_of(cls, registry.kinds)
    console = Console()
    console.print(f"[bold]{kind} {name}[/]  {escape(entry.component.summary)}", highlight=False)
    console.print(f"{entry.target}, from {entry.distribution} {entry.version}", highlight=False, style="dim")
    if cls.__doc__:
        console.print("\n" + inspect.cleandoc(cls.__doc__), markup=False, highlight=False)
    table = _table("setting", "type", "default")
    for setting, slot in form.slots.items():
        kind_text = f"list of {slot.kind}" if slot.many else slot.kind
        table.add_row(setting, kind_text, _default(slot.default, slot.kind, registry))
    for setting, field in form.model.model_fields.items():
        default = "required" if field.is_required() else repr(field.default)
        table.add_row(setting, escape(_type(field)), escape(default))
    console.print(table if table.row_count else "It has no settings.")
    for example in entry.component.examples:
        written = yaml.safe_dump(dict(example), default_flow_style=True, sort_keys=False, width=10**6).strip()
        console.print(f"for example {written}", markup=False, highlight=False)


def plugins() -> None:
    """List the plugins: what each provides, or why it does not load."""
    table = _table("plugin", "version", "status", "provides")
    records = installed_plugins().records
    for record in records:
        names = [component.name for component in record.components] + [recipe.name for recipe in record.recipes]
        color = {"ok": "green", "failed": "red", "disabled": "yellow"}[record.status]
        table.add_row(
            record.name, record.version, f"[{color}]{record.status}[/]", escape(record.error) or ", ".join(names)
        )
    console = Console()
    console.print(table if records else "no plugin is installed")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _warn_of_failures() -> None:
    for record in installed_plugins().records:
        if record.status == "failed":
            Console(stderr=True, soft_wrap=True).print(
                f"plugin {record.name} {record.version} did not load: {record.error}",
                markup=False,
                style="yellow",
            )


def _default(value: Any, kind: str, registry: Registry) -> str:
    if value is REQUIRED:
        return "required"
    if value is None or isinstance(value, str):
        return value or "none"
    entry = registry.entry_of(kind, value)
    return entry.component.name if entry else type(value).__name__


def _type(field: Any) -> str:
    name = getattr(field.annotation, "__name__", None)
    text = name if name and not getattr(field.annotation, "__args__", None) else str(field.annotation)
    text = text.replace("typing.", "").replace("pathlib.", "")
    limits = [
        f"{symbol} {getattr(item, attribute)}"
        for item in field.metadata
        for attribute, symbol in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if getattr(item, attribute, None) is not None
    ]
    return f"{text} ({', '.join(limits)})" if limits else text
