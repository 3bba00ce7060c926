"""What a plugin declares: components, recipes and commands, by name, without importing what implements them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Command", "Component", "Recipe", "check_declaration", "check_target"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.\-]*")


def check_declaration(what: str, name: str, target: str, role: str) -> None:
    """Refuse a name or a target that has not the form of one."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} name {name!r}: use lower case letters, digits and underscores")
    check_target(what, name, target, role)


def check_target(what: str, name: str, target: str, role: str) -> None:
    """Refuse what is not `package.module:Name`."""
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{what} {name!r}: {role} {target!r} is not of the form 'package.module:Name'")


@dataclass(frozen=True)
class Component:
    """One implementation of a kind, named and described, imported on first use.

    Arguments:
        kind: What it implements: `path`, `network`, ... (`flowkit list` shows them all).
        name: How configurations call it; lower case letters, digits and underscores.
        target: `package.module:Class`, or a class itself (for tests and notebooks).
        summary: One line for `flowkit list`.
        default_for: The data it is the default of its kind for: `"any"`, or what a data component
            `yields` (`"image"`). Empty: never chosen unasked.
        yields: For data components: the sort of event, `"vector"` or `"image"`.
        extra: The optional dependency it needs: the extra to install, as in `pip install dist[extra]`.
        examples: Settings to try it with, as a configuration would give them. `flowkit check` makes it from each of
            them, beside its defaults; where a setting has no default, from these alone.
    """

    kind: str
    name: str
    target: str | type
    summary: str = ""
    default_for: tuple[str, ...] = ()
    yields: str = "vector"
    extra: str | None = None
    examples: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        target = self.target if isinstance(self.target, str) else "a.class:Object"
        check_declaration("component", self.name, target, "target")


@dataclass(frozen=True)
class Recipe:
    """A complete named configuration, such as `moons`.

    Arguments:
        name: What `flowkit train NAME` calls it.
        target: `package:file.yaml`, a YAML file inside an importable package.
        summary: One line for `flowkit list recipe`.
    """

    name: str
    target: str
    summary: str = ""

    def __post_init__(self) -> None:
        check_declaration("recipe", self.name, self.target, "target")


@dataclass(frozen=True)
class Command:
    """A command of the command line, imported when it is called.

    Arguments:
        name: `flowkit NAME`; lower case letters, digits, hyphens and underscores.
        target: `package.module:function`, a function as typer takes them, or a `typer.Typer`; or the function or the
            `Typer` itself (for tests and notebooks).
        summary: One line for `flowkit --help`.
    """

    name: str
    target: str | Callable[..., Any]
    summary: str = ""

    def __post_init__(self) -> None:
        target = self.target if isinstance(self.target, str) else "a.module:function"
        check_declaration("command", self.name.replace("-", "_"), target, "target")
