"""Names to components: lookup, ambiguity, suggestions, and loading with the reasons why it failed."""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import FlowkitError, PluginError, UnknownComponentError, did_you_mean
from .component import Component
from .kinds import DeclaredKind, Kind, contested_kinds

__all__ = ["Entry", "Registry", "resolve_target", "why_stray"]


@dataclass(frozen=True)
class Entry:
    """A component and the plugin it comes from.

    Arguments:
        component: What the plugin declared.
        distribution: The installed distribution, `flowkit-torch`.
        version: The version of that distribution.
        plugin: `distribution:entry_point`.
    """

    component: Component
    distribution: str
    version: str
    plugin: str

    @property
    def qualified(self) -> str:
        """`distribution/name`, which always picks this component."""
        return f"{self.distribution}/{self.component.name}"

    @property
    def target(self) -> str:
        """`module:Class` of the implementation."""
        target = self.component.target
        return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"


class Registry:
    """All components of all loaded plugins, by kind and name.

    Arguments:
        kinds: The kinds that the core knows.
        entries: The components, with where each comes from.
        failures: Plugins that did not load, `distribution:entry_point` to reason; quoted when a name is
            not found.
        declared: The kinds that plugins add.

    Attributes:
        kinds: Every kind, those of plugins included.
        strays: Components of kinds that no loaded plugin declares; they cannot be used.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        entries: Iterable[Entry] = (),
        failures: Mapping[str, str] | None = None,
        declared: Iterable[DeclaredKind] = (),
    ) -> None:
        declared = list(declared)
        self.kinds = dict(kinds)
        for claim in declared:
            self.kinds.setdefault(claim.kind.name, claim.kind)
        self.failures = dict(failures or {})
        self.contested = contested_kinds(declared)
        self.strays: list[Entry] = []
        self._origins = {claim.kind.name: f"{claim.distribution} {claim.version}" for claim in reversed(declared)}
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            if entry.component.kind in self.kinds:
                self._entries.setdefault((entry.component.kind, entry.component.name), []).append(entry)
            else:
                self.strays.append(entry)
        self._loaded: dict[Entry, type] = {}

    def __iter__(self) -> Iterator[Entry]:
        for _, entries in sorted(self._entries.items()):
            yield from entries

    def kind(self, name: str) -> Kind:
        """The kind of that name.

        Raises:
            UnknownComponentError: There is none, or plugins do not agree on what it is.
        """
        if name not in self.kinds:
            raise UnknownComponentError(self._unknown_kind(name))
        if name in self.contested:
            raise UnknownComponentError(self.contested[name])
        return self.kinds[name]

    def origin(self, kind: str) -> str:
        """The distribution that declares a kind, with its version; empty for the kinds of the core."""
        return self._origins.get(kind, "")

    def interface(self, kind: str) -> type:
        """Import the interface of a kind.

        Raises:
            PluginError: It cannot be imported, or is no class.
        """
        target = self.kind(kind).interface
        label = f"kind {kind!r} of {self.origin(kind) or 'flowkit'}: its interface {target}"
        try:
            found = resolve_target(target)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{label} cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(found, type):
            raise PluginError(f"{label} is not a class")
        return found

    def of_kind(self, kind: str) -> list[Entry]:
        """Every component of one kind, sorted by name."""
        self.kind(kind)
        return self._entries_of(kind)

    def find(self, kind: str, name: str) -> Entry:
        """The component called `name`, or `distribution/name`.

        Raises:
            UnknownComponentError: No plugin provides it, or several do.
        """
        self.kind(kind)
        distribution, _, short = name.rpartition("/")
        found = self._entries.get((kind, short), [])
        if distribution:
            found = [entry for entry in found if entry.distribution == distribution]
        if len(found) == 1:
            return found[0]
        if not found:
            raise UnknownComponentError(self._unknown(kind, name))
        claims = " and ".join(sorted(entry.distribution for entry in found))
        picks = " or ".join(repr(entry.qualified) for entry in found)
        raise UnknownComponentError(f"{kind} {name!r} is provided by {claims}: write {picks}")

    def name_of(self, entry: Entry) -> str:
        """The shortest name that picks this component: its own, or with the distribution where several claim it."""
        component = entry.component
        return entry.qualified if self.is_contested(component.kind, component.name) else component.name

    def is_contested(self, kind: str, name: str) -> bool:
        """Whether several plugins provide a component of this name."""
        return len(self._entries.get((kind, name), ())) > 1

    def default(self, kind: str, event: str = "any") -> Entry | None:
        """The component that a plugin declares the default of its kind for this sort of event, if any."""
        for wanted in dict.fromkeys((event, "any")):
            found = [entry for entry in self.of_kind(kind) if wanted in entry.component.default_for]
            if len(found) > 1:
                picks = ", ".join(entry.qualified for entry in found)
                raise UnknownComponentError(f"several defaults for {kind}: name one of {picks}")
            if found:
                return found[0]
        return None

    def load(self, entry: Entry) -> type:
        """Import the class behind a component, and check that it is of its kind.

        Raises:
            PluginError: It cannot be imported, or it does not implement the kind's interface.
        """
        if entry not in self._loaded:
            self._loaded[entry] = self._import(entry)
        return self._loaded[entry]

    def entry_of(self, kind: str, instance: Any) -> Entry | None:
        """The component whose class this object is an instance of, if it is a registered one."""
        cls = type(instance)
        # A target may name another module than the one that defines the class: a package that exports it, say.
        alike = [entry for entry in self._entries_of(kind) if entry.target.endswith(f":{cls.__qualname__}")]
        return next((entry for entry in alike if self._is_class_of(entry, cls)), None)

    def _entries_of(self, kind: str) -> list[Entry]:
        return [entry for entry in self if entry.component.kind == kind]

    def _is_class_of(self, entry: Entry, cls: type) -> bool:
        try:
            return self.load(entry) is cls
        except FlowkitError:
            return False

    def _import(self, entry: Entry) -> type:
        component, label = entry.component, f"{entry.component.kind} {entry.component.name!r}"
        target = component.target
        if isinstance(target, str):
            try:
                target = resolve_target(target)
            except (Exception, SystemExit) as error:
                raise PluginError(_why_not_loaded(entry, label, error)) from error
        interface = self.interface(component.kind)
        if not (isinstance(target, type) and issubclass(target, interface)):
            raise PluginError(
                f"{label} of {entry.distribution} {entry.version}: {entry.target} is not a subclass of "
                f"{interface.__name__}"
            )
        return target

    def _unknown_kind(self, kind: str) -> str:
        text = f"there is no kind {kind!r}{did_you_mean(kind, self.kinds)}; kinds: {', '.join(self.kinds)}"
        elsewhere = next((k for k, name in sorted(self._entries) if name == kind), None)
        if elsewhere:
            text += f" ({kind!r} is the name of a component of kind {elsewhere})"
        strays = [entry for entry in self.strays if entry.component.kind == kind]
        if strays:
            names = ", ".join(f"{entry.component.name!r} of {entry.distribution}" for entry in strays)
            text += f"\n{names} is of this kind, but no plugin that is loaded declares it: install the one that does"
            text += self._quoted_failures()
        return text

    def _unknown(self, kind: str, name: str) -> str:
        names = sorted({entry.component.name for entry in self.of_kind(kind)})
        text = f"there is no {kind} {name!r}{did_you_mean(name, names)}"
        text += f"; choose from: {', '.join(names)}" if names else f"; no installed plugin provides a {kind}"
        elsewhere = sorted(k for k, n in self._entries if n == name and k != kind)
        if elsewhere:
            text += f" ({name!r} is the name of a component of kind {' and '.join(elsewhere)})"
        return text + self._quoted_strays(name) + self._quoted_failures()

    def _quoted_strays(self, name: str) -> str:
        return "".join(
            f"\nplugin {entry.plugin} {entry.version}: {why_stray(entry, self)}"
            for entry in self.strays
            if name in (entry.component.name, entry.qualified)
        )

    def _quoted_failures(self) -> str:
        return "".join(
            f"\nplugin {plugin} did not load, and may have provided it: {reason}"
            for plugin, reason in self.failures.items()
        )


def why_stray(entry: Entry, registry: Registry) -> str:
    """Why a component of an unknown kind cannot be used."""
    kind, name = entry.component.kind, entry.component.name
    return (
        f"component {name!r} is of an unknown kind {kind!r}{did_you_mean(kind, registry.kinds)}: "
        "no plugin that is loaded declares it"
    )


def resolve_target(target: str) -> Any:
    """Import what `module:Name` names."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _why_not_loaded(entry: Entry, label: str, error: BaseException) -> str:
    text = f"{label} of {entry.distribution} {entry.version} cannot be imported: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and entry.component.extra:
        text += f"; install it with: pip install '{entry.distribution}[{entry.component.extra}]'"
    return text
