"""The `flowkit` command."""

import io
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import __version__
from ..errors import ConfigError, FlowkitError, FlowkitWarning, TrainingInterrupted
from ..processes import launched
from .check import check
from .components import list_components, plugins
from .doctor import doctor
from .extensions import CommandGroup
from .likelihood import likelihood
from .new import new
from .profile import profile
from .report import report
from .runs import runs
from .sampling import evaluate, sample
from .schema import schema
from .show import show
from .training import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="flowkit",
    cls=CommandGroup,
    help="Train and sample flow-matching and diffusion models; every part is a plugin.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(sample)
app.command()(evaluate)
app.command()(likelihood)
app.command()(report)
app.command("list")(list_components)
app.command()(show)
app.command()(plugins)
app.command()(runs)
app.command()(schema)
app.command()(new)
app.command()(check)
app.command()(doctor)
app.command()(profile)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flowkit-torch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train and sample flow-matching and diffusion models; every part is a plugin."""


def main() -> None:
    """Run the command line, and turn every expected failure into one message and an exit code.

    2: the command or the configuration cannot be meant. 1: something failed. 128 + n: stopped by signal n.
    """
    debug = "--debug" in sys.argv
    if debug:
        _log_everything()
        sys.argv = [sys.argv[0], *(argument for argument in sys.argv[1:] if argument != "--debug")]
    _warn_in_words()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ± is no reason to lose what was done
    try:
        app()
    except FlowkitError as error:
        _report(error, debug)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            Console(stderr=True).print("[bold red]stopped[/]")
        raise
    except Exception as error:
        _report(error, debug)
        sys.exit(1)


def _warn_in_words() -> None:
    """Print flowkit's own warnings as messages, without the line of code that they come from; and those of components
    that are going away, which come from the line of flowkit that makes components.
    """
    shown, home = warnings.showwarning, Path(__file__).parents[1]

    def show(message: Warning | str, category: type[Warning], filename: str, *where: Any, **more: Any) -> None:
        going = issubclass(category, FutureWarning) and home in Path(filename).parents
        if not (going or issubclass(category, FlowkitWarning)):
            shown(message, category, filename, *where, **more)
            return
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print("[bold yellow]warning:[/] ", end="")
        console.print(str(message), markup=False)

    warnings.showwarning = show


def _log_everything() -> None:
    logger = logging.getLogger("flowkit")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)


def _report(error: Exception, debug: bool) -> None:
    process = launched()
    if not process.is_main:
        if isinstance(error, TrainingInterrupted):
            return  # which all have agreed on
        process.take_turn()
    where = "" if process.is_main else f" in process {process.rank}"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if debug:
        traceback.print_exception(error)
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        console.print(f"[bold red]error{where}:[/] {len(error.problems)} problems in the configuration")
        for problem in error.problems:
            console.print(f"  {problem}", markup=False)
        return
    text = str(error) or type(error).__name__
    if not isinstance(error, FlowkitError):
        text = f"{type(error).__name__}: {text} (unexpected; --debug shows where)"
    console.print(f"[bold red]error{where}:[/] ", end="")
    console.print(text, markup=False)
