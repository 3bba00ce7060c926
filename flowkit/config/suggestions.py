"""What a person may have meant: settings that other components have, or that belong to another place."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import FlowkitError, did_you_mean
from ..injection import INJECTED_ANNOTATIONS
from ..plugins.registry import Entry, Registry
from .sections import FORMS
from .source import settings_in_source

__all__ = ["how_to_give", "name_missing", "no_such_setting", "places_called", "with_settings"]


def no_such_setting(setting: str, names: Collection[str], entry: Entry | None, registry: Registry) -> str:
    """What to say of a setting that is none of `names`: those of a component, or of a section, which is no entry."""
    if entry is None:
        return f"no such setting{did_you_mean(setting, names)}; settings: {', '.join(names)}"
    component = entry.component
    hint = did_you_mean(setting, [*names, "name"])
    text = f"no such setting{hint}" if names else f"{component.kind} {component.name!r} has no settings{hint}"
    text += f"; settings: {', '.join(names)}" if names else ""
    others = [] if hint else with_settings([setting], component.kind, registry)
    if others:
        return f"{text}; {setting!r} is a setting of {_listed(others)}, chosen as in {{name: {others[0]}}}"
    return text


def name_missing(kind: str, settings: Collection[str], registry: Registry) -> str:
    """What to say of settings that came without the name of their component."""
    having = with_settings(settings, kind, registry, alone=True)
    if having:
        return f"give the {kind} a name beside {_listed([repr(name) for name in settings])}: {' or '.join(having)}"
    names = [registry.name_of(entry) for entry in registry if entry.component.kind == kind] or ["..."]
    return f"give the {kind} a name, as in {{name: {names[0]}}}"


def how_to_give(kind: str, given: Any) -> str:
    """How data are given that are no object of flowkit's yet; nothing for other kinds."""
    if kind != "data" or isinstance(given, (list, tuple)):
        return ""
    if hasattr(given, "__array__"):
        return ": give an array or a tensor as fk.InMemory(torch.as_tensor(x))"
    if hasattr(given, "__getitem__") or hasattr(given, "__iter__"):
        return (
            ": give a torch Dataset or DataLoader as an fk.Dataset with spec, __len__ and take, or as an fk.DataSource "
            "with spec and draw (docs/quickstart.md, A Dataset of torch)"
        )
    return ""


def with_settings(settings: Collection[str], kind: str, registry: Registry, alone: bool = False) -> list[str]:
    """The components of a kind that have these settings, and need no others if they stand alone.

    Nothing is imported to find out, so it is a guess.
    """
    found = []
    for entry in registry:
        if settings and entry.component.kind == kind:
            defaults = _settings_of(entry)
            required = {name for name, default in defaults.items() if not default} if alone else set()
            if required <= set(settings) <= defaults.keys():
                found.append(registry.name_of(entry))
    return found


def places_called(setting: str, components: Mapping[str, Any], registry: Registry) -> str:
    """A suggestion of the settings of that name, where their section was left out.

    Arguments:
        setting: The name that is no section.
        components: The sections that are one component each, with what was chosen for them.
        registry: Where the components are.
    """
    sections = [kind for kind, given in components.items() if setting in _settings_of(_chosen(kind, given, registry))]
    sections += [section for section, form in FORMS.items() if setting in form.names]
    places = [f"'{section}.{setting}'" for section in sections]
    return f" (did you mean {' or '.join(places)}?)" if places else ""


def _chosen(kind: str, given: Any, registry: Registry) -> Entry | None:
    name = given.get("name") if isinstance(given, Mapping) else given
    try:
        return registry.find(kind, name) if isinstance(name, str) else None
    except FlowkitError:
        return None


def _settings_of(entry: Entry | None) -> dict[str, str]:
    """The settings of a component, each with its default as it is written; an empty text for none."""
    found = settings_in_source(entry.target) if entry else []
    return {
        name: default
        for name, annotation, default in found
        if INJECTED_ANNOTATIONS.isdisjoint(re.findall(r"\w+", annotation))
    }


def _listed(names: list[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
