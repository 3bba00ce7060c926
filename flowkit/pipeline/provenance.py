"""Which package every component of a run came from, written down and asked for again."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..config.config import Config
from ..errors import ConfigError, FlowkitError, Problem
from ..plugins.manager import PluginManager

__all__ = ["check_provenance", "provenance"]


def provenance(config: Config) -> dict[str, Any]:
    """The versions behind a configuration: `{python packages}` and `kind/name` to `distribution version`."""
    components = {
        f"{choice.kind}/{choice.name}": f"{choice.entry.distribution} {choice.entry.version}"
        for choice in config.choices()
        if choice.entry is not None
    }
    packages = {name: _version(name) for name in ("flowkit-torch", "torch", "accelerate")}
    return {"packages": packages, "components": dict(sorted(components.items()))}


def check_provenance(
    given: Mapping[str, Any], plugins: PluginManager, replaced: Mapping[str, Any] | None = None
) -> None:
    """Name the packages that a stored configuration needs and that are not here.

    Arguments:
        given: What `config.yaml` holds.
        plugins: What is installed.
        replaced: Sections that the caller gives as objects, which need no package.

    Raises:
        ConfigError: Components are missing.
    """
    recorded = given.get("provenance")
    components = recorded.get("components") if isinstance(recorded, Mapping) else None
    needed = _names({section: value for section, value in given.items() if section not in (replaced or {})})
    problems = []
    for component, origin in (components if isinstance(components, Mapping) else {}).items():
        kind, _, name = str(component).partition("/")
        if name not in needed:
            continue
        try:
            plugins.registry.find(kind, name)
        except FlowkitError:
            package, _, number = str(origin).partition(" ")
            problems.append(
                Problem(
                    kind,
                    f"{name!r} comes from {package} {number}, which is not installed or did not load: "
                    f"pip install '{package}=={number}' (see: flowkit plugins)",
                )
            )
    if problems:
        raise ConfigError(problems)


def _names(value: Any) -> set[str]:
    """Every component name in a stored configuration."""
    if isinstance(value, Mapping):
        own = {value["name"]} if isinstance(value.get("name"), str) else set()
        return own.union(*(_names(item) for item in value.values()))
    return set().union(*(_names(item) for item in value)) if isinstance(value, list) else set()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
