"""Finds installed plugins through their entry points and takes in each alone, so none can break another."""

import functools
import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pluggy

from ..errors import PluginError, UnknownComponentError, did_you_mean
from .component import Command, Component, Recipe
from .contexts import Context
from .hookspecs import PROJECT, FlowkitHooks
from .kinds import KINDS, Kind
from .lifecycle import HookFailure, HookGuard
from .registry import Entry, Registry

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
    commands: tuple[Command, ...] = ()
    hooks: tuple[str, ...] = ()


class PluginManager:
    """The plugins of one session. There is no global one: tests make their own.

    Arguments:
        environment: Where the switches are read from; the process environment by default.
            `FLOWKIT_PLUGINS=a,b` loads only these (empty: none), `FLOWKIT_DISABLE_PLUGINS=a,b` leaves
            these out, both by distribution (`flowkit-torch`) or plugin (`flowkit-torch:ode`);
            `FLOWKIT_STRICT_PLUGINS=1` raises where a plugin or one of its hooks fails, instead of recording it.

    Example:
        >>> manager = PluginManager.discover()
        >>> manager.registry.find("path", "gaussian").distribution
        'flowkit-torch'
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._only = _names(environment.get("FLOWKIT_PLUGINS"))
        self._disabled = _names(environment.get("FLOWKIT_DISABLE_PLUGINS")) or frozenset()
        self._strict = environment.get("FLOWKIT_STRICT_PLUGINS", "") not in ("", "0")
        self.kinds: dict[str, Kind] = dict(KINDS)
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
        for point in sorted(found, key=lambda point: (_distribution(point)[0], point.name)):
            distribution, version = _distribution(point)
            manager.add(point, f"{distribution}:{point.name}", distribution, version)
        return manager

    def add(self, plugin: Any, name: str, distribution: str = "local", version: str = "0") -> PluginRecord:
        """Take in one plugin: an entry point, or an object with hook implementations.

        Its components count only when all of its hooks succeeded.
        """
        if self._is_disabled(name, distribution):
            record = PluginRecord(name, distribution, version, "disabled")
        else:
            try:
                record = self._take_in(plugin, name, distribution, version)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may even exit: it must take nobody down
                reason = f"{type(error).__name__}: {error}".replace("\n", " ")
                if self._strict:
                    raise PluginError(f"plugin {name} {version} failed: {reason}") from error
                record = PluginRecord(name, distribution, version, "failed", reason)
        self.records.append(record)
        self._registry = None
        return record

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
            self._registry = Registry(self.kinds, entries, failures)
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
        self.hooks.register(plugin, name)
        try:
            self._check_hooks(plugin)
            components = tuple(self._call(plugin, "flowkit_components", Component))
            recipes = tuple(self._call(plugin, "flowkit_recipes", Recipe))
            commands = tuple(self._call(plugin, "flowkit_commands", Command))
            self._check(components, recipes)
            if len({command.name for command in commands}) < len(commands):
                raise ValueError("a command is declared twice")
            hooks = self._guard(plugin, HookGuard(name, version, self._strict, self.hook_failures))
        except BaseException:
            self.hooks.unregister(plugin)
            raise
        return PluginRecord(name, distribution, version, "ok", "", components, recipes, commands, hooks)

    def _check_hooks(self, plugin: Any) -> None:
        """Refuse an implementation of a hook that there is none of: its name is misspelt."""
        known = [name for name in vars(FlowkitHooks) if name.startswith(PROJECT)]
        for caller in self.hooks.get_hookcallers(plugin) or ():
            if caller.name not in known:
                raise ValueError(f"there is no hook {caller.name!r}{did_you_mean(caller.name, known)}")

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

    def _check(self, components: tuple[Component, ...], recipes: tuple[Recipe, ...]) -> None:
        seen: set[tuple[str, str]] = set()
        for component in components:
            if component.kind not in self.kinds:
                raise ValueError(
                    f"component {component.name!r} is of an unknown kind {component.kind!r}"
                    f"{did_you_mean(component.kind, self.kinds)}"
                )
            if (component.kind, component.name) in seen:
                raise ValueError(f"{component.kind} {component.name!r} is declared twice")
            seen.add((component.kind, component.name))
        if len({recipe.name for recipe in recipes}) < len(recipes):
            raise ValueError("a recipe is declared twice")

    def _is_disabled(self, name: str, distribution: str) -> bool:
        names = {_normalized(name), _normalized(distribution)}
        return bool(names & self._disabled) or (self._only is not None and not names & self._only)


@functools.cache
def installed_plugins() -> PluginManager:
    """The installed plugins, discovered once; what every `plugins=None` argument means."""
    return PluginManager.discover()


def _names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(_normalized(name) for name in text.split(",") if name.strip())


def _normalized(name: str) -> str:
    """The name of a distribution as packaging tools compare it; what follows a colon stays."""
    distribution, colon, plugin = name.strip().partition(":")
    return re.sub(r"[-_.]+", "-", distribution).lower() + colon + plugin


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    dist = point.dist
    # What a half-removed package leaves behind has neither.
    return (dist.metadata["Name"] or "unknown", dist.metadata["Version"] or "0") if dist else ("unknown", "0")
