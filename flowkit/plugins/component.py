"""What a plugin declares: components and recipes, by name, without importing what implements them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Component", "Recipe"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.\-]*")


def _check(what: str, name: str, target: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} name {name!r}: use lower case letters, digits and underscores")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{what} {name!r}: target {target!r} is not of the form 'package.module:Name'")


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
        _check("component", self.name, self.target if isinstance(self.target, str) else "a.class:Object")


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
        _check("recipe", self.name, self.target)
