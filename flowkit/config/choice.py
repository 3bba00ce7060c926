"""A component that was chosen, with its settings complete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from ..errors import ConfigError, FlowkitError, Problem
from ..plugins.registry import Entry, Registry
from .form import form_of

__all__ = ["Choice", "build", "dump"]


@dataclass(frozen=True)
class Choice:
    """One component of a configuration.

    Arguments:
        kind: Its kind.
        entry: The registered component; None for an object of a class that is not registered.
        settings: Every setting, defaults included: plain values, choices, lists of choices.
        instance: The object itself, where the user gave one. (Neither it nor an entry: an object that a file could
            not hold.)
        name: What picks the component; the class of an unregistered object.
    """

    kind: str
    entry: Entry | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    instance: Any = None
    name: str = ""

    @property
    def why_absent(self) -> str:
        """What to say of an object that a file could not hold."""
        return f"was given as a Python object of {self.name}, which a file cannot hold: pass an object of that class"


def dump(value: Any) -> Any:
    """Choices and settings as plain data, the way a file holds them."""
    if isinstance(value, Choice):
        if value.instance is None and value.entry is None:
            return {"instance": value.name}
        if value.entry is None:
            return {"instance": f"{type(value.instance).__module__}:{type(value.instance).__qualname__}"}
        return {"name": value.name} | {key: dump(setting) for key, setting in value.settings.items()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [dump(item) for item in value]
    return to_jsonable_python(value)


def build(value: Any, registry: Registry, where: str = "", **injected: Any) -> Any:
    """Make the object that a choice describes (or the one it holds).

    Arguments:
        value: A choice; lists of them and plain values pass through.
        registry: Where components are found.
        where: The place in the configuration, for messages.
        injected: The values that only the build knows.

    Raises:
        ConfigError: The constructor refused its settings, or failed at them.
    """
    if isinstance(value, list):
        return [build(item, registry, f"{where}[{i}]", **injected) for i, item in enumerate(value)]
    if not isinstance(value, Choice):
        return value
    if value.instance is not None:
        return value.instance
    if value.entry is None:
        raise ConfigError([Problem(where, value.why_absent)])
    cls = registry.load(value.entry)
    form = form_of(cls, registry.kinds)
    arguments = {
        name: build(setting, registry, f"{where}.{name}", **injected) for name, setting in value.settings.items()
    }
    arguments |= {name: injected[key] for name, key in form.injected.items() if key in injected}
    try:
        return cls(**arguments)
    except FlowkitError:
        raise
    except Exception as error:  # a stranger's constructor may raise anything
        raise ConfigError([Problem(where, _why_not_made(value.entry, error))]) from error


def _why_not_made(entry: Entry, error: Exception) -> str:
    """The words of a constructor that refuses its settings; of one that fails, whose it is, too."""
    if isinstance(error, (TypeError, ValueError)):
        return str(error)
    component, said = entry.component, " ".join(str(error).split())
    return (
        f"{component.kind} {component.name!r} of {entry.distribution} {entry.version} cannot be made: "
        f"{type(error).__name__}" + (f": {said}" if said else "")
    )
