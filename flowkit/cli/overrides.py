"""What the shell offers for `section.setting=value` when TAB is pressed. Imports no component, and so no torch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from ..config.config import COMPONENTS
from ..config.files import override
from ..config.sections import FORMS
from ..config.source import settings_in_source
from ..errors import FlowkitError
from ..injection import INJECTED_ANNOTATIONS
from ..plugins.manager import installed_plugins
from ..plugins.registry import Registry
from .completion import Offers, components_of

__all__ = ["offers"]

KIND, PLAIN, SECTION = "kind", "plain", "section"

Node = tuple[str, str]
"""What a place in a configuration is: (`kind`, its name), (`plain`, its default), (`section`, its name)."""


def offers(ctx: typer.Context, incomplete: str, sections: Sequence[str] = (*COMPONENTS, *FORMS)) -> Offers:
    """The words that may stand in place of `incomplete`, after the configuration and the overrides before it."""
    *before, word = _rejoined([*(ctx.params.get("overrides") or []), incomplete])
    try:
        given = override(_given(ctx.params.get("config")), before)
    except FlowkitError:
        given = {}
    typed = len(word) - len(incomplete)  # before what the shell replaces
    found = _completed(word, given, sections, installed_plugins().registry)
    return [(offer[typed:], help_text) for offer, help_text in found if offer.startswith(word)]


def _rejoined(words: list[str]) -> list[str]:
    """The words of a command line of bash, which takes every `=` for a word of its own (and hides it at the end)."""
    *before, word = "\n".join(words).replace("\n=\n", "=").split("\n")
    if before and not word and "=" not in before[-1]:
        return [*before[:-1], f"{before[-1]}="]
    return [*before, word]


def _given(config: str | None) -> Mapping[str, Any]:
    """The configuration that the command line names."""
    if not config:
        return {}
    from .training import given_config

    return given_config(config, installed_plugins())


def _completed(word: str, given: Any, sections: Sequence[str], registry: Registry) -> Iterator[tuple[str, str]]:
    place, equals, _ = word.partition("=")
    *parents, last = place.split(".")
    nodes: dict[str, Node] = {name: (SECTION if name in FORMS else KIND, name) for name in sections}
    for key in parents:
        nodes = _inside(nodes.get(key, (PLAIN, "")), given.get(key) if isinstance(given, Mapping) else None, registry)
        given = given.get(key) if isinstance(given, Mapping) else None
    prefix = "".join(f"{key}." for key in parents)
    if equals:
        what, name = nodes.get(last, (PLAIN, ""))
        for component, summary in components_of(name) if what == KIND else ():
            yield f"{prefix}{last}={component}", summary
        return
    for key, (what, value) in nodes.items():
        if what == PLAIN:
            yield f"{prefix}{key}={value}", ""
        if what == KIND:
            yield f"{prefix}{key}=", registry.kinds[value].summary
        if what != PLAIN:
            yield f"{prefix}{key}.", "its settings"


def _inside(node: Node, given: Any, registry: Registry) -> dict[str, Node]:
    """The settings at a place: those of a section, or those of the component that is chosen there."""
    what, name = node
    if what == SECTION:
        form = FORMS[name]
        plain = {key: (PLAIN, _written(repr(field.default))) for key, field in form.model.model_fields.items()}
        return {key: (KIND, slot.kind) for key, slot in form.slots.items()} | plain
    if what == PLAIN:
        return {}
    chosen = given.get("name") if isinstance(given, Mapping) else given
    try:
        entry = registry.find(name, chosen) if isinstance(chosen, str) else registry.default(name)
    except FlowkitError:
        return {}
    interfaces = {kind.interface.rpartition(":")[2]: kind.name for kind in registry.kinds.values()}
    found: dict[str, Node] = {}
    for setting, annotation, default in settings_in_source(entry.target) if entry else ():
        words = re.findall(r"\w+", annotation.replace("pathlib.Path", ""))
        kind = next((interfaces[word] for word in words if word in interfaces), None)
        if not INJECTED_ANNOTATIONS.intersection(words):
            found[setting] = (KIND, kind) if kind else (PLAIN, _written(default))
    return found


def _written(default: str) -> str:
    """A default as YAML writes it, if it is a number or a word."""
    words = {"True": "true", "False": "false", "None": "null"}
    return words.get(default, default.strip("'\"") if re.fullmatch(r"[-+.\w]+|'\w+'", default) else "")
