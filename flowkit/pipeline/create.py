"""One component by its name."""

import inspect
from typing import Any

from ..config.choice import build
from ..config.form import REQUIRED, form_of
from ..config.resolve import Resolver
from ..errors import ConfigError
from ..injection import INJECTED
from ..plugins.manager import PluginManager, installed_plugins
from ..plugins.registry import Entry, Registry

__all__ = ["create"]


def create(kind: str, name: str, /, *, plugins: PluginManager | None = None, **settings: Any) -> Any:
    """Make a registered component for use on its own.

    Arguments:
        kind: `path`, `network`, ...
        name: Its name.
        plugins: Where to look; the installed plugins by default.
        settings: Its settings, and the values that a pipeline would fill in (`event_shape=(2,)`).

    Raises:
        ConfigError: With everything that is wrong.

    Examples:
        >>> path = create("path", "gaussian", schedule="cosine")
        >>> network = create("network", "mlp", event_shape=(2,))
    """
    registry = (plugins or installed_plugins()).registry
    entry = registry.find(kind, name)
    keys = INJECTED.difference(form_of(registry.load(entry), registry.kinds).names)
    injected = {key: value for key, value in settings.items() if key in keys}
    resolver = Resolver(registry)
    given = {key: value for key, value in settings.items() if key not in keys}
    choice = resolver.choice(kind, {"name": entry.qualified} | given, f"{kind} {name}")
    for key in _required(entry, registry) - injected.keys():
        resolver.problem(f"{kind} {name}.{key}", "is required where there is no pipeline to fill it in")
    if resolver.problems:
        raise ConfigError(resolver.problems)
    return build(choice, registry, f"{kind} {name}", **injected)


def _required(entry: Entry, registry: Registry) -> set[str]:
    """The values that the constructor cannot do without and that are no settings."""
    cls = registry.load(entry)
    parameters = inspect.signature(cls).parameters
    injected = form_of(cls, registry.kinds).injected
    return {key for name, key in injected.items() if parameters[name].default is REQUIRED}
