"""What the shell offers when TAB is pressed. Imports no component, and so no torch."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from ..plugins.manager import installed_plugins

__all__ = [
    "Offers",
    "complete_component",
    "complete_config",
    "complete_integrator",
    "complete_kind",
    "complete_override",
    "complete_sampling_override",
    "complete_shown",
    "components_of",
]

Offers = list[tuple[str, str]]
"""Words, each with a line of help."""


def complete_kind(incomplete: str) -> Offers:
    """Kinds of component, and `recipe`."""
    return _beginning(incomplete, [*_kinds().items(), ("recipe", "complete configurations")])


def complete_shown(incomplete: str) -> Offers:
    """What `flowkit show` shows: kinds, `recipe`, and the sections that are no component."""
    sections = {"training": "how training runs", "sampling": "how samples are drawn"}
    sections |= {"evaluation": "how samples are measured"}
    return [*complete_kind(incomplete), *_beginning(incomplete, sections.items())]


def complete_component(ctx: typer.Context, incomplete: str) -> Offers:
    """The components of the kind that the command line names."""
    kind = ctx.params.get("kind")
    return _beginning(incomplete, _recipes() if kind == "recipe" else components_of(kind))


def complete_integrator(incomplete: str) -> Offers:
    """Integrators."""
    return _beginning(incomplete, components_of("integrator"))


def complete_config(incomplete: str) -> Offers:
    """Recipes, and YAML files."""
    folder = Path(os.path.dirname(incomplete))
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".yaml", ".yml")]
    folders = [path for path in sorted(folder.glob("*/")) if any(path.glob("*.y*ml"))]
    paths = [(str(path), "a file") for path in files] + [(f"{path}/", "a folder") for path in folders]
    return _beginning(incomplete, [*_recipes(), *paths])


def complete_override(ctx: typer.Context, incomplete: str) -> Offers:
    """Sections, their settings, and the names of components: `path=`, `network.width=128`, `path.schedule=vp`."""
    from .overrides import offers

    return offers(ctx, incomplete)


def complete_sampling_override(ctx: typer.Context, incomplete: str) -> Offers:
    """The same, for the section `sampling` alone."""
    from .overrides import offers

    return offers(ctx, incomplete, ["sampling"])


def _kinds() -> dict[str, str]:
    return {kind.name: kind.summary for kind in installed_plugins().registry.kinds.values()}


def _recipes() -> Iterator[tuple[str, str]]:
    return ((recipe.name, recipe.summary) for recipe, _ in installed_plugins().recipes)


def components_of(kind: str | None) -> Iterator[tuple[str, str]]:
    """The components of a kind, if it is one."""
    registry = installed_plugins().registry
    if kind in registry.kinds and kind not in registry.contested:
        for entry in registry.of_kind(kind):
            yield registry.name_of(entry), entry.component.summary


def _beginning(incomplete: str, offers: Iterable[tuple[str, str]]) -> Offers:
    return [(word, help_text) for word, help_text in offers if word.startswith(incomplete)]
