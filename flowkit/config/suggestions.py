"""What a person may have meant: settings that other components have, or that belong to another place."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import FlowkitError, did_you_mean
from ..injection import INJECTED_ANNOTATIONS
from ..plugins.registry import Entry, Registry
from .sections import FORMS
from .source import settings_in_source

__all__ = ["how_to_give", "name_missing", "no_such_setting", "places_called"]

ELSEWHERE = {"lr": "learning_rate", "ema": "ema_decay", "batch": "batch_size", "epochs": "steps"}
"""What other programs call settings of training."""


def no_such_setting(setting: str, names: Collection[str], entry: Entry | None, registry: Registry) -> str:
    """What to say of a setting that is none of `names`: those of a component, or of a section, which is no entry."""
    if entry is None:
        return f"no such setting{_hint(setting, names)}; settings: {', '.join(names)}"
    component = entry.component
    hint = did_you_mean(setting, [*names, "name"])
    text = f"no such setting{hint}" if names else f"{component.kind} {component.name!r} has no settings{hint}"
    text += f"; settings: {', '.join(names)}" if names else ""
    others = [] if hint else list(map(registry.name_of, _with_settings([setting], component.kind, registry)))
    if others:
        return f"{text}; {setting!r} is a setting of {_listed(others)}, chosen as in {{name: {others[0]}}}"
    return text


def name_missing(kind: str, settings: Collection[str], registry: Registry) -> str:
    """What to say of settings that came without the name of their component."""
    having = [entry for entry in _with_settings(settings, kind, registry) if _required(entry) <= set(settings)]
    if having:
        names = " or ".join(map(registry.name_of, having))
        return f"give the {kind} a name beside {_listed([repr(name) for name in settings])}: {names}"
    example = next((registry.name_of(entry) for entry in registry if entry.component.kind == kind), "...")
    return f"give the {kind} a name, as in {{name: {example}}}"


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


def places_called(setting: str, components: Mapping[str, Any], registry: Registry) -> str:
    """A suggestion of the settings of that name, where their section was left out.

    Arguments:
        setting: The name that is no section.
        components: The sections that are one component each, with what was chosen for them.
        registry: Where the components are.
    """
    sections = [kind for kind, given in components.items() if setting in _settings_of(_chosen(kind, given, registry))]
    places = [f"'{section}.{setting}'" for section in sections]
    called = ELSEWHERE.get(setting, setting)
    forms = {"training": FORMS["training"]} if called != setting else FORMS
    places += [f"'{section}.{called}'" for section, form in forms.items() if called in form.names]
    return f" (did you mean {' or '.join(places)}?)" if places else ""


def _hint(setting: str, names: Collection[str]) -> str:
    """The setting of a section that is meant by a name which other programs have for it, or nearly by its own."""
    if setting == "epochs" and "steps" in names:
        return " (steps are counted, not epochs: did you mean 'steps'?)"
    return did_you_mean(ELSEWHERE.get(setting, setting), names)


def _with_settings(settings: Collection[str], kind: str, registry: Registry) -> list[Entry]:
    """The components of a kind that have these settings. Nothing is imported to find out, so it is a guess."""
    entries = [entry for entry in registry if entry.component.kind == kind] if settings else []
    return [entry for entry in entries if set(settings) <= _settings_of(entry).keys()]


def _required(entry: Entry) -> set[str]:
    return {name for name, default in _settings_of(entry).items() if not default}


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
