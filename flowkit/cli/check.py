"""`flowkit check`: whether the components of a plugin do what their kinds promise."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from ..testing.report import Outcome

__all__ = ["check"]

STATUSES = ("passed", "failed", "not applicable", "not checked")
COLORS = {"passed": "green", "failed": "red", "not applicable": "dim", "not checked": "yellow"}


def check(
    plugin: Annotated[str, typer.Argument(help="A distribution, such as flowkit-swirl, or distribution:entry_point.")],
    kind: Annotated[str | None, typer.Option(help="Only components of this kind.")] = None,
    component: Annotated[str | None, typer.Option(help="Only components of this name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List every check, not the failures alone.")] = False,
) -> None:
    """Check whether a plugin's components do what their kinds promise. Exit code 1 where one does not."""
    from ..testing.plugin import plugin_cases

    console = Console(highlight=False)
    outcomes: list[Outcome] = []
    for case in plugin_cases(plugin, kind=kind, component=component):
        with console.status(escape(case.label)):
            outcomes.extend(case.run())
    console.print(_details(outcomes) if every else _counts(outcomes))
    for outcome in outcomes:
        _explain(outcome, console, every)
    totals = [f"{_count(outcomes, status)} {status}" for status in STATUSES if _count(outcomes, status)]
    console.print(", ".join(totals) or "nothing to check")
    if _count(outcomes, "failed"):
        raise typer.Exit(1)


def _counts(outcomes: "list[Outcome]") -> "Table":
    """A line for each component."""
    counts = table("component", *STATUSES)
    for label in dict.fromkeys(outcome.component for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.component == label]
        numbers = [(_count(own, status), COLORS[status]) for status in STATUSES]
        counts.add_row(escape(label), *(f"[{color}]{number}[/]" if number else "" for number, color in numbers))
    return counts


def _details(outcomes: "list[Outcome]") -> "Table":
    """A line for each check."""
    details = table("component", "check", "outcome", "remark")
    for outcome in outcomes:
        color = COLORS.get(outcome.status, "")
        remark = "" if outcome.status == "failed" else escape(outcome.message)
        details.add_row(escape(outcome.component), outcome.check.name, f"[{color}]{outcome.status}[/]", remark)
    return details


def _explain(outcome: "Outcome", console: Console, every: bool) -> None:
    """What failed, with the reason and the hint; and what the reader must know of where nothing failed."""
    if outcome.status == "failed":
        console.print(f"[bold red]failed[/] [bold]{escape(outcome.component)}[/]: {outcome.check.name}")
        console.print(f"  {outcome.check.claim}", markup=False, style="dim")
        console.print(f"  {outcome.message}", markup=False)
        if outcome.check.hint:
            console.print(f"  hint: {outcome.check.hint}", markup=False)
    elif not every and (outcome.status == "not checked" or (outcome.status == "passed" and outcome.message)):
        word = "not checked" if outcome.status == "not checked" else "note"
        console.print(f"[yellow]{word}[/] {escape(outcome.component)}: {escape(outcome.message)}")


def _count(outcomes: "list[Outcome]", status: str) -> int:
    return sum(outcome.status == status for outcome in outcomes)
