"""Finds installed plugins through their entry points and takes in each alone, so none can break another."""

import functools
import importlib.metadata
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pluggy

from .. import __version__
from ..errors import FlowkitWarning, PluginError, UnknownComponentError, did_you_mean
from .api import api_of, check_api
from .component import Command, Component, Recipe
from .contexts import Context
from .hookspecs import PROJECT, FlowkitHooks
from .kinds import KINDS, DeclaredKind, Kind
from .lifecycle import HookFailure, HookGuard
from .registry import Entry, Registry, why_stray

__all__ = ["PluginManager", "PluginRecord", "installed_plugins"]

_LIFECYCLE = {context.hook: context for context in Context.__subclasses__()}


@dataclass(frozen=True)
class PluginRecord:
    """What became of one plugin: its provenance, and what it gave or why it gave nothing.

    Arguments:
        name: `distribution:entry_point`.
        distribution: The distribution it is installed from.
        version: That distribution's version.
        status: `ok`; `failed` (see `error`); `disabled` by an environment variable.
        error: Why it failed, one line.
        components: What it registered.
        recipes: The recipes it registered.
        kinds: The kinds of component that it adds.
        api: The version of the plugin API that it is made for.
        seconds: How long it took to import its module and to call its hooks.
        commands: The commands it registered.
        hooks: The lifecycle hooks that it implements.
    """

    name: str
    distribution: str
    version: str
    status: Literal["ok", "failed", "disabled"]
    error: str = ""
    components: tuple[Component, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    kinds: tuple[Kind, ...] = ()
    api: int = 1
    seconds: float = 0.0
    commands: tuple[Command, ...] = ()
    hooks: tuple[str, ...] = ()


class PluginManager:
    """The plugins of one session. There is no global one: tests make their own.

    Arguments:
        environment: Where the switches are read from; the process environment by default.
            `FLOWKIT_PLUGINS=a,b` loads only these (empty: none), `FLOWKIT_DISABLE_PLUGINS=a,b` leaves
            these out, both by distribution (`flowkit-torch`) or plugin (`flowkit-torch:ode`);
            `FLOWKIT_STRICT_PLUGINS=1` raises where a plugin or one of its hooks fails, instead of recording it.

    Examples:
        >>> manager = PluginManager.discover()
        >>> manager.registry.find("path", "gaussian").distribution
        'flowkit-torch'
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._only = _names(environment.get("FLOWKIT_PLUGINS"))
        self._disabled = _names(environment.get("FLOWKIT_DISABLE_PLUGINS")) or frozenset()
        self._strict = environment.get("FLOWKIT_STRICT_PLUGINS", "") not in ("", "0")
        self.hooks = pluggy.PluginManager(PROJECT)
        self.hooks.add_hookspecs(FlowkitHooks)
        self.records: list[PluginRecord] = []
        self.hook_failures: list[HookFailure] = []
        self._registry: Registry | None = None

    @classmethod
    def discover(cls, environment: Mapping[str, str] | None = None) -> "PluginManager":
        """A manager that holds every installed plugin."""
        manager = cls(environment)
        found = importlib.metadata.entry_points(group=PROJECT)
        distributions = {id(point.dist): point.dist for point in found}  # many points of one are one to read
        origins = {key: _origin(distribution) for key, distribution in distributions.items()}
        for point in sorted(found, key=lambda point: (origins[id(point.dist)][0], point.name)):
            distribution, version = origins[id(point.dist)]
            manager.add(point, f"{distribution}:{point.name}", distribution, version)
        manager._warn_of_unknown("FLOWKIT_PLUGINS", manager._only or frozenset())
        manager._warn_of_unknown("FLOWKIT_DISABLE_PLUGINS", manager._disabled)
        if manager._strict:
            for entry in manager.registry.strays:
                raise PluginError(f"plugin {entry.plugin} {entry.version}: {why_stray(entry, manager.registry)}")
        return manager

    def add(self, plugin: Any, name: str, distribution: str = "local", version: str = "0") -> PluginRecord:
        """Take in one plugin: an entry point, or an object with hook implementations.

        Its components count only when all of its hooks succeeded.
        """
        if self._is_disabled(name, distribution):
            record = PluginRecord(name, distribution, version, "disabled")
        else:
            start = time.perf_counter()
            try:
                record = self._take_in(plugin, name, distribution, version)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may even exit: it must take nobody down
                reason = _reason(error, distribution)
                if self._strict:
                    raise PluginError(f"plugin {name} {version} failed: {reason}") from error
                record = PluginRecord(name, distribution, version, "failed", reason)
            record = replace(record, seconds=time.perf_counter() - start)
        self.records.append(record)
        self._registry = None
        return record

    def __deepcopy__(self, memo: dict[int, Any]) -> "PluginManager":
        """Itself: what is installed is one, also for the copy of a pipeline."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: the plugins that are installed there."""
        if self is not installed_plugins():
            raise TypeError("plugins of your own cannot be pickled: load the run where it is needed (Pipeline.load)")
        return installed_plugins, ()

    @property
    def registry(self) -> Registry:
        """The components of all plugins that loaded."""
        if self._registry is None:
            entries = [
                Entry(component, record.distribution, record.version, record.name)
                for record in self.records
                for component in record.components
            ]
            failures = {record.name: record.error for record in self.records if record.status == "failed"}
            declared = [
                DeclaredKind(kind, record.distribution, record.version)
                for record in self.records
                for kind in record.kinds
            ]
            self._registry = Registry(KINDS, entries, failures, declared)
        return self._registry

    @property
    def recipes(self) -> list[tuple[Recipe, PluginRecord]]:
        """Every recipe, with the plugin it comes from."""
        found = [(recipe, record) for record in self.records for recipe in record.recipes]
        return sorted(found, key=lambda pair: pair[0].name)

    @property
    def commands(self) -> list[tuple[Command, PluginRecord]]:
        """Every command, with the plugin it comes from."""
        found = [(command, record) for record in self.records for command in record.commands]
        return sorted(found, key=lambda pair: pair[0].name)

    def recipe(self, name: str) -> tuple[Recipe, PluginRecord]:
        """The recipe called `name`, or `distribution/name`, with the plugin it comes from."""
        distribution, _, short = name.rpartition("/")
        found = [
            (recipe, record)
            for recipe, record in self.recipes
            if recipe.name == short and distribution in ("", record.distribution)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            picks = " or ".join(f"{record.distribution}/{short}" for _, record in found)
            raise UnknownComponentError(f"several plugins provide a recipe {name!r}: write {picks}")
        names = [recipe.name for recipe, _ in self.recipes]
        raise UnknownComponentError(
            f"there is no recipe {name!r}{did_you_mean(name, names)}; recipes: {', '.join(names) or 'none'}"
        )

    def _take_in(self, plugin: Any, name: str, distribution: str, version: str) -> PluginRecord:
        if isinstance(plugin, importlib.metadata.EntryPoint):
            plugin = plugin.load()
        api = api_of(plugin)
        check_api(api, distribution)
        self._check_new(plugin, name)
        self.hooks.register(plugin, name)
        try:
            self._check_hooks(plugin)
            kinds = tuple(self._call(plugin, "flowkit_kinds", Kind))
            components = tuple(self._call(plugin, "flowkit_components", Component))
            recipes = tuple(self._call(plugin, "flowkit_recipes", Recipe))
            commands = tuple(self._call(plugin, "flowkit_commands", Command))
            _check(kinds, components, recipes, commands)
            hooks = self._guard(plugin, HookGuard(name, version, self._strict, self.hook_failures))
        except BaseException:
            self.hooks.unregister(plugin)
            raise
        return PluginRecord(
            name,
            distribution,
            version,
            "ok",
            components=components,
            recipes=recipes,
            kinds=kinds,
            api=api,
            commands=commands,
            hooks=hooks,
        )

    def _check_new(self, plugin: Any, name: str) -> None:
        """Refuse a plugin that is there already: a distribution that is installed twice, under two names, say."""
        if self.hooks.has_plugin(name):
            raise PluginError(
                f"a plugin called {name} is loaded already: give one of the two entry points another name"
            )
        if self.hooks.is_registered(plugin):
            raise PluginError(
                f"what it names is loaded already, as {self.hooks.get_name(plugin)}: remove one of the two entry points"
            )

    def _check_hooks(self, plugin: Any) -> None:
        """Refuse an implementation of a hook that there is none of: its name is misspelt."""
        known = [name for name in vars(FlowkitHooks) if name.startswith(PROJECT)]
        for caller in self.hooks.get_hookcallers(plugin) or ():
            if caller.name not in known:
                raise PluginError(f"there is no hook {caller.name!r}{did_you_mean(caller.name, known)}")

    def _guard(self, plugin: Any, guard: HookGuard) -> tuple[str, ...]:
        """Guard the lifecycle hooks of a plugin; their names."""
        callers = [caller for caller in self.hooks.get_hookcallers(plugin) or () if caller.name in _LIFECYCLE]
        for caller in callers:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    guard.guard(implementation, _LIFECYCLE[caller.name])
        return tuple(caller.name for caller in callers)

    def _call(self, plugin: Any, hook: str, expected: type) -> Iterable[Any]:
        """Call one plugin's implementation of one hook, alone."""
        caller = getattr(self.hooks.hook, hook)
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin:
                for item in implementation.function() or ():
                    if not isinstance(item, expected):
                        raise TypeError(f"{hook} yielded {item!r}, not a {expected.__name__}")
                    yield item

    def _warn_of_unknown(self, variable: str, names: frozenset[str]) -> None:
        """Warn of names in a switch that no installed plugin has."""
        known = dict.fromkeys(name for record in self.records for name in (record.distribution, record.name))
        if unknown := sorted(names - {_normalized(name) for name in known}):
            warnings.warn(
                f"{variable}: no installed plugin is called {' or '.join(map(repr, unknown))}"
                f"{did_you_mean(unknown[0], known)}; there are: {', '.join(known) or 'none'}",
                FlowkitWarning,
                stacklevel=3,
            )

    def _is_disabled(self, name: str, distribution: str) -> bool:
        names = {_normalized(name), _normalized(distribution)}
        return bool(names & self._disabled) or (self._only is not None and not names & self._only)


@functools.cache
def installed_plugins() -> PluginManager:
    """The installed plugins, discovered once; what every `plugins=None` argument means."""
    return PluginManager.discover()


def _check(
    kinds: tuple[Kind, ...],
    components: tuple[Component, ...],
    recipes: tuple[Recipe, ...],
    commands: tuple[Command, ...],
) -> None:
    """Refuse declarations of one plugin that exclude each other, or the kinds of the core."""
    for kind in kinds:
        if kind.name == "recipe":
            raise PluginError("kind 'recipe': recipes are no components; give yours another name")
        for own in KINDS.values():
            if (own.name == kind.name) != (own.interface == kind.interface):
                raise PluginError(
                    f"kind {kind.name!r} with the interface {kind.interface}: flowkit's own kind {own.name!r} has the "
                    f"interface {own.interface}; give yours another name and an interface of its own"
                )
    for what, names in {
        "kind": [kind.name for kind in kinds],
        "component": [f"{component.kind} {component.name}" for component in components],
        "recipe": [recipe.name for recipe in recipes],
        "command": [command.name for command in commands],
    }.items():
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise PluginError(f"{what} {twice[0]!r} is declared twice")


def _reason(error: BaseException, distribution: str) -> str:
    """Why a plugin failed, in one line. What flowkit itself refuses is a sentence; other errors need their class."""
    reason = (str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}").replace("\n", " ")
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == PROJECT:
        reason += f"; flowkit {__version__} has no such name: upgrade flowkit-torch or {distribution}"
    return reason


def _names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(_normalized(name) for name in text.split(",") if name.strip())


def _normalized(name: str) -> str:
    """The name of a distribution as packaging tools compare it; what follows a colon stays."""
    distribution, colon, plugin = name.strip().partition(":")
    return re.sub(r"[-_.]+", "-", distribution).lower() + colon + plugin


def _origin(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """The name and version of a distribution. What a half-removed package leaves behind has neither."""
    if distribution is None:
        return "unknown", "0"
    names, versions = (distribution.metadata.get_all(key) for key in ("Name", "Version"))
    return (names or [""])[0] or "unknown", (versions or [""])[0] or "0"
