"""The hooks that flowkit calls and plugins implement."""

from collections.abc import Iterable

import pluggy

from .component import Component, Recipe
from .kinds import Kind

__all__ = ["PROJECT", "FlowkitHooks", "hookimpl"]

PROJECT = "flowkit"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class FlowkitHooks:
    """Every hook, with when it is called and what it returns."""

    @hookspec
    def flowkit_kinds(self) -> Iterable[Kind]:  # type: ignore[empty-body]
        """Kinds of component that the plugin adds. Called once, at discovery: import nothing heavy here."""

    @hookspec
    def flowkit_components(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """The components of the plugin. Called once, at discovery: import nothing heavy here."""

    @hookspec
    def flowkit_recipes(self) -> Iterable[Recipe]:  # type: ignore[empty-body]
        """The recipes of the plugin. Called once, at discovery."""
