"""A component as its settings, and built again from them."""

import json
from typing import Any

from ..config.choice import Choice, build, dump
from ..config.form import Form, form_of
from ..config.resolve import Resolver
from ..errors import PluginError
from ..plugins.component import Component
from ..plugins.registry import Entry, Registry
from .check import NotApplicable, Subject

__all__ = ["form_of_component", "rebuilt", "settings_of"]


def form_of_component(subject: Subject) -> Form:
    """What a configuration may fill in.

    Raises:
        NotApplicable: The class of an object that is not declared takes what no configuration can give.
    """
    try:
        return form_of(type(subject.component), subject.registry.kinds)
    except PluginError as error:
        if subject.registry.entry_of(subject.kind, subject.component):
            raise
        raise NotApplicable(f"it can be used as an object only: {error}") from error


def settings_of(subject: Subject, component: Any = None) -> dict[str, Any]:
    """All settings as plain data, the way a file holds them.

    Raises:
        AssertionError: They cannot be read back from the object.
        NotApplicable: Inside is an object that a file cannot hold.
    """
    component = subject.component if component is None else component
    form = form_of_component(subject)
    missing = [name for name in form.names if not hasattr(component, name)]
    if missing:
        raise AssertionError(f"has no attribute {missing[0]!r}, and that is the name of a setting")
    choice = Resolver(_registry_with(subject)).describe(subject.kind, component)
    if choice is None:
        values = {name: getattr(component, name) for name in form.model.model_fields}
        raise AssertionError(f"keeps something as its settings that would be refused as such: {values!r}")
    if inside := _unwritable(choice):
        raise NotApplicable(f"it holds an object that a file cannot hold, of {inside}")
    settings = dump(choice)
    json.dumps(settings)
    return dict(settings)


def rebuilt(subject: Subject, outputs: int = 1) -> Any:
    """Another object of the same settings; the weights of a network, which has so many outputs, are others."""
    settings = settings_of(subject)
    resolver = Resolver(_registry_with(subject))
    choice = resolver.choice(subject.kind, settings, subject.kind)
    if resolver.problems:
        raise AssertionError(f"its own settings are refused: {'; '.join(map(str, resolver.problems))}")
    injected = {"event_shape": subject.event_shape, "outputs": outputs, "num_classes": subject.num_classes}
    return build(choice, resolver.registry, subject.kind, **injected)


def _registry_with(subject: Subject) -> Registry:
    """The registry, with the class of an object that nobody has declared."""
    registry = subject.registry
    if registry.entry_of(subject.kind, subject.component):
        return registry
    own = Entry(Component(subject.kind, "unnamed", type(subject.component)), "local", "0", "local")
    return Registry(registry.kinds, [*registry, own])


def _unwritable(value: Any) -> str:
    """The class of an object in a choice that no plugin declares."""
    if isinstance(value, Choice):
        if value.entry is None:
            return value.name
        return next(filter(None, map(_unwritable, value.settings.values())), "")
    if isinstance(value, list):
        return next(filter(None, map(_unwritable, value)), "")
    return ""
