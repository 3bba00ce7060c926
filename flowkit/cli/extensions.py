"""Commands of plugins, beside flowkit's own: listed by what plugins declare, imported when they are called."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import PluginError, UnknownComponentError, did_you_mean
from ..plugins.component import Command
from ..plugins.manager import PluginRecord, installed_plugins
from ..plugins.registry import resolve_target

__all__ = ["CommandGroup"]


class CommandGroup(TyperGroup):
    """flowkit's own commands, and those of the installed plugins.

    A name that flowkit or another plugin claims too is written `distribution/name`; alone it is flowkit's, or an error.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, each as it must be written."""
        return [*super().list_commands(ctx), *self._of_plugins()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, if there is one.

        Raises:
            UnknownComponentError: Several plugins provide it.
        """
        if own := super().get_command(ctx, cmd_name):
            return own
        distribution, _, short = cmd_name.rpartition("/")
        found = [
            (command, record)
            for command, record in installed_plugins().commands
            if command.name == short and distribution in ("", record.distribution)
        ]
        if len(found) > 1:
            claims = " and ".join(record.name for _, record in found)
            picks = " or ".join(f"{record.distribution}/{short}" for _, record in found)
            raise UnknownComponentError(f"the command {cmd_name!r} is provided by {claims}: write {picks}")
        return _Deferred(cmd_name, *found[0], short in self.commands) if found else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was called.

        Raises:
            UnknownComponentError: There is none of this name, or there are several.
        """
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            text = (
                f"there is no command {name!r}{did_you_mean(name, self.list_commands(ctx))}; flowkit --help lists them"
            )
            for record in installed_plugins().records:
                if record.status == "failed":
                    text += f"\nplugin {record.name} did not load, and may have provided it: {record.error}"
            raise UnknownComponentError(text)
        return super().resolve_command(ctx, args)

    def _of_plugins(self) -> list[str]:
        commands = installed_plugins().commands
        claims = Counter([*self.commands, *(command.name for command, _ in commands)])
        return [
            command.name if claims[command.name] == 1 else f"{record.distribution}/{command.name}"
            for command, record in commands
        ]


class _Deferred(TyperCommand):
    """A command of a plugin: a name and a summary, until it is called."""

    def __init__(self, name: str, command: Command, record: PluginRecord, is_flowkits_too: bool) -> None:
        short = f"; {command.name!r} alone is flowkit's own" if is_flowkits_too else ""
        help = f"{command.summary} (from {record.distribution}{short})".strip()
        super().__init__(name, help=help, rich_help_panel="Commands of plugins")
        self.command, self.record = command, record

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command, and let it read its arguments."""
        return self._load().make_context(info_name, args, parent, **extra)

    def _load(self) -> Any:
        """What typer makes of the target.

        Raises:
            PluginError: It cannot be imported, or is no command.
        """
        label = f"command {self.command.name!r} of {self.record.distribution} {self.record.version}"
        target = self.command.target
        try:
            found = resolve_target(target) if isinstance(target, str) else target
            return typer.main.get_command(found if isinstance(found, typer.Typer) else _app(found))
        except (Exception, SystemExit) as error:
            raise PluginError(f"{label} cannot be used: {target}: {type(error).__name__}: {error}") from error


def _app(function: Any) -> typer.Typer:
    if not callable(function):
        raise TypeError("is neither a function nor a typer.Typer")
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return app
