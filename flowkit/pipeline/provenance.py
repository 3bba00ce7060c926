"""Which package every component of a run came from, written down and asked for again."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..config.config import Config
from ..errors import ConfigError, FlowkitError, FlowkitWarning, Problem
from ..plugins.api import PLUGIN_API
from ..plugins.manager import PluginManager

__all__ = ["check_provenance", "identify", "identity_of", "provenance", "qualified", "version_changes"]


def identify(config: Mapping[str, Any]) -> str:
    """A name for the runs that are started with a configuration, by which their checkpoints are known."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]


def identity_of(given: Mapping[str, Any]) -> str | None:
    """The name that a run was given when it was started; None for one that is older than such names."""
    recorded = given.get("provenance")
    found = recorded.get("run") if isinstance(recorded, Mapping) else None
    return found if isinstance(found, str) else None


def provenance(config: Config, identity: str | None = None) -> dict[str, Any]:
    """The versions behind a configuration: of Python packages, of the plugin API, and of every component,
    `kind/name` to `distribution version`; and the name of the run, if it has one.
    """
    components = {
        f"{choice.kind}/{choice.name}": f"{choice.entry.distribution} {choice.entry.version}"
        for choice in config.choices()
        if choice.entry is not None
    }
    packages = {name: _version(name) for name in ("flowkit-torch", "torch", "accelerate")}
    named = {"run": identity} if identity else {}
    return named | {"packages": packages, "plugin_api": PLUGIN_API, "components": dict(sorted(components.items()))}


def version_changes(before: Any, now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The packages whose versions differ between two such records, with what each was and is."""
    old, new = _versions(before), _versions(now)
    return [(name, old[name], new[name]) for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


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
    needed = set(_names({section: value for section, value in given.items() if section not in (replaced or {})}))
    problems = []
    for kind, name, package, number in _recorded(given):
        if name not in needed:
            continue
        try:
            plugins.registry.find(kind, f"{package}/{name.rpartition('/')[2]}")
        except FlowkitError:
            gone = f"{name!r} comes from {package} {number}, {_why_gone(package, number, plugins)}"
            problems.append(Problem(kind, plugins.registry.contested.get(kind, gone)))
    if problems:
        raise ConfigError(problems)


def without_lost_callbacks(given: Mapping[str, Any], plugins: PluginManager) -> dict[str, Any]:
    """The sections of a stored configuration, less callbacks that are not here: sampling needs none."""
    callbacks, lost = list(given.get("callbacks") or ()), set()
    for kind, name, package, number in _recorded(given):
        if kind == "callback":
            try:
                plugins.registry.find(kind, f"{package}/{name.rpartition('/')[2]}")
            except FlowkitError:
                lost.add(name)
                why = _why_gone(package, number, plugins)
                warnings.warn(
                    f"callback {name!r} is left out: it comes from {package} {number}, {why}", FlowkitWarning, 3
                )
    kept = [callback for callback in callbacks if not set(_names(callback)) & lost]
    return dict(given) | ({"callbacks": kept} if lost else {})


def qualified(given: Mapping[str, Any], plugins: PluginManager) -> dict[str, Any]:
    """The sections of a stored configuration, with the distribution before each name that several claim by now."""
    recorded = list(_recorded(given))
    kinds: dict[str, set[str]] = {}
    for kind, name, _, _ in recorded:
        kinds.setdefault(name, set()).add(kind)
    picks = {
        (place, name): f"{package}/{name}"
        for kind, name, package, _ in recorded
        if plugins.registry.is_contested(kind, name)
        # A name of one kind alone is that wherever it stands; one of several goes by the setting that it stands in.
        for place in ([kind, f"{kind}s"] if len(kinds[name]) > 1 else [""])
    }
    return {section: _renamed(value, picks, section) for section, value in given.items() if section != "provenance"}


def _versions(recorded: Any) -> dict[str, str]:
    """Every package of a record, with its version."""
    packages = recorded.get("packages") if isinstance(recorded, Mapping) else None
    found = {str(name): str(number) for name, number in packages.items()} if isinstance(packages, Mapping) else {}
    return {package: number for _, _, package, number in _recorded({"provenance": recorded})} | found


def _why_gone(package: str, number: str, plugins: PluginManager) -> str:
    records = [record for record in plugins.records if record.distribution == package]
    if any(record.status == "disabled" for record in records):
        return "which FLOWKIT_PLUGINS or FLOWKIT_DISABLE_PLUGINS switches off"
    for record in records:
        if record.status == "failed":
            return f"whose plugin {record.name} {record.version} did not load: {record.error}"
    way_out = f"pip install '{package}=={number}'"
    if records:
        return f"and {package} {records[0].version}, which is installed, does not provide it: {way_out}"
    return f"which is not installed: {way_out}"


def _recorded(given: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Kind, name, distribution and version of every component that a stored configuration was made of."""
    recorded = given.get("provenance")
    components = recorded.get("components") if isinstance(recorded, Mapping) else None
    for component, origin in (components if isinstance(components, Mapping) else {}).items():
        kind, _, name = str(component).partition("/")
        package, _, number = str(origin).partition(" ")
        yield kind, name, package, number


def _names(value: Any) -> Iterator[str]:
    """Every component name in a stored configuration."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            yield value["name"]
        for item in value.values():
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _renamed(value: Any, picks: Mapping[tuple[str, str], str], place: str) -> Any:
    if isinstance(value, Mapping):
        changed = {key: _renamed(item, picks, str(key)) for key, item in value.items()}
        name = value.get("name")
        pick = picks.get(("", name), picks.get((place, name))) if isinstance(name, str) else None
        return changed | ({"name": pick} if pick else {})
    return [_renamed(item, picks, place) for item in value] if isinstance(value, list) else value


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
