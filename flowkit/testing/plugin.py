"""The checks of a whole plugin: what it declares, and every component made in the ways that it says."""

import contextlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..config.config import read_config
from ..config.form import REQUIRED, Form, form_of
from ..errors import FlowkitError, UnknownComponentError, did_you_mean
from ..interfaces.source import Source
from ..pipeline.create import create
from ..pipeline.recipes import recipe_config
from ..plugins.manager import PluginManager, PluginRecord, installed_plugins
from ..plugins.registry import Entry
from .check import Check, CheckList, NotApplicable, NotChecked, Subject, require
from .report import Outcome, Report
from .run import checks_of, run_check
from .use import use_of

__all__ = ["DECLARATION", "PLUGIN", "Case", "check_plugin", "plugin_cases"]

SHAPES: tuple[tuple[int, ...], ...] = ((2,), (1, 8, 8), (3, 16, 16))
"""Events that a network, or a source, is tried on until it takes one."""

PLUGIN = CheckList()
"""Of the plugin itself: the component of the subject is a `PluginRecord`."""

DECLARATION = CheckList()
"""Of what it declares: the component of the subject is an `Entry`."""


@dataclass(frozen=True)
class Case:
    """Something to check, and the checks that are asked of it.

    Arguments:
        label: What reports call it: `path swirl`, with the settings that it was made with.
        subject: It, in its surroundings.
        checks: The checks.
    """

    label: str
    subject: Subject
    checks: tuple[Check, ...]

    def run(self) -> Iterator[Outcome]:
        """Run the checks one after another."""
        for check in self.checks:
            yield run_check(check, self.subject, self.label)


def check_plugin(name: str, *, plugins: PluginManager | None = None) -> Report:
    """Check everything that a plugin declares.

    Arguments:
        name: The distribution, `flowkit-swirl`, or one of its plugins, `flowkit-swirl:swirl`.
        plugins: Where it is; the installed plugins by default.

    Raises:
        AssertionError: With every check that failed, what was seen, and a hint.
        UnknownComponentError: There is no such plugin.
    """
    report = Report([outcome for case in plugin_cases(name, plugins) for outcome in case.run()])
    report.raise_failures()
    return report


def plugin_cases(
    name: str, plugins: PluginManager | None = None, kind: str | None = None, component: str | None = None
) -> Iterator[Case]:
    """Everything of a plugin that there is to check; components are made as the iterator comes to them.

    Arguments:
        name: The distribution, or `distribution:entry_point`.
        plugins: Where it is; the installed plugins by default.
        kind: Only components of this kind.
        component: Only components of this name.

    Raises:
        UnknownComponentError: There is no such plugin, or nothing of that kind and name in it.
    """
    plugins = plugins or installed_plugins()
    records = _records(name, plugins)
    names = [record.name for record in records]
    entries = [
        entry
        for entry in plugins.registry
        if entry.plugin in names and kind in (None, entry.component.kind) and component in (None, entry.component.name)
    ]
    if not entries and (kind or component):
        what = " ".join(filter(None, (kind, component)))
        raise UnknownComponentError(f"{name} declares no {what}; see: flowkit plugins")
    if not (kind or component):
        for record in records:
            subject = Subject("plugin", record, plugins.registry)
            yield Case(f"plugin {record.name}", subject, (*PLUGIN, _recipes_are_valid(record, plugins)))
    for entry in entries:
        yield from _cases_of(entry, plugins)


def _records(name: str, plugins: PluginManager) -> list[PluginRecord]:
    wanted = _plain(name)
    records = [r for r in plugins.records if wanted in (_plain(r.name), _plain(r.distribution))]
    if records:
        return records
    known = [*dict.fromkeys(r.distribution for r in plugins.records), *(r.name for r in plugins.records)]
    raise UnknownComponentError(
        f"there is no plugin {name!r}{did_you_mean(name, known)}; plugins: {', '.join(known) or 'none'}"
    )


def _plain(name: str) -> str:
    distribution, colon, point = name.partition(":")
    return distribution.lower().replace("_", "-").replace(".", "-") + colon + point


@PLUGIN.add(hint="`flowkit plugins` shows the error; FLOWKIT_STRICT_PLUGINS=1 raises it where it happens")
def loads(subject: Subject) -> None:
    """Its module can be imported, and its hooks succeed."""
    record: PluginRecord = subject.component
    if record.status == "disabled":
        raise NotChecked("it is switched off by FLOWKIT_PLUGINS or FLOWKIT_DISABLE_PLUGINS")
    require(record.status == "ok", record.error)


@PLUGIN.add(hint="declare targets as text, 'package.module:Class', and import nothing else in plugin.py or __init__.py")
def is_listed_without_torch(subject: Subject) -> None:
    """Listing its components does not import torch."""
    record: PluginRecord = subject.component
    points = importlib.metadata.entry_points(group="flowkit")
    if record.status != "ok" or not any(record.name.endswith(f":{point.name}") for point in points):
        raise NotApplicable("it is not installed as a distribution with an entry point")
    code = (
        "import sys; from flowkit.plugins import PluginManager; PluginManager.discover(); "
        "print(*sorted({'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "FLOWKIT_PLUGINS": record.name, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    require(done.returncode == 0, f"listing it in a fresh process fails: {done.stderr[-500:]}")
    heavy = done.stdout.split()
    require(not heavy, f"listing its components imports {', '.join(heavy)}")


def _recipes_are_valid(record: PluginRecord, plugins: PluginManager) -> Check:
    def recipes_are_valid(subject: Subject) -> None:
        del subject
        if not record.recipes:
            raise NotApplicable("it has no recipes")
        for recipe in record.recipes:
            try:
                read_config(recipe_config(f"{record.distribution}/{recipe.name}", plugins), plugins)
            except FlowkitError as error:
                raise AssertionError(f"recipe {recipe.name!r}: {error}") from error

    hint = "a recipe is a YAML file inside an importable package, and is part of what is installed"
    return Check("recipes_are_valid", recipes_are_valid, "Every recipe is a configuration without problems.", hint)


@DECLARATION.add(hint="the target is 'package.module:Class', and the class a subclass of its kind's interface")
def can_be_loaded(subject: Subject) -> None:
    """Its target can be imported, and is of its kind."""
    entry: Entry = subject.component
    try:
        subject.registry.load(entry)
    except FlowkitError as error:
        if entry.component.extra and isinstance(error.__cause__, ModuleNotFoundError):
            raise NotChecked(str(error)) from error
        raise AssertionError(str(error)) from error


@DECLARATION.add(hint="annotate every parameter of the constructor with a type that a file can hold")
def has_readable_settings(subject: Subject) -> None:
    """Its settings can be read off the signature of its constructor."""
    try:
        form_of(_loaded(subject), subject.registry.kinds)
    except FlowkitError as error:
        raise AssertionError(str(error)) from error


@DECLARATION.add(hint="give the Component a `summary`: one line for `flowkit list`")
def has_a_summary(subject: Subject) -> None:
    """`flowkit list` says what it is, in one line."""
    summary = subject.component.component.summary
    require(bool(summary.strip()), "it has no summary")
    require("\n" not in summary, "its summary has several lines")


@DECLARATION.add(hint="`default_for` holds 'any', or what data components `yield`: 'vector', 'image'")
def is_the_default_of_known_data(subject: Subject) -> None:
    """It is the default only for sorts of data that there are."""
    data = [entry.component for entry in subject.registry if entry.component.kind == "data"]
    known = {"any", "vector", "image", *(component.yields for component in data)}
    for sort in subject.component.component.default_for:
        require(sort in known, f"default_for names {sort!r}{did_you_mean(sort, known)}, which no data yield")


def _can_be_made(failure: Exception | None = None) -> Check:
    """The check that a component could be made; it tells what came of that."""

    def can_be_made(subject: Subject) -> None:
        del subject
        if failure is not None:
            raise failure

    hint = "give every setting a default that works, or the component `examples` of settings that do"
    claim = "It can be made from its defaults, and from each of its examples."
    return Check("can_be_made", can_be_made, claim, hint)


def _loaded(subject: Subject) -> type:
    try:
        return subject.registry.load(subject.component)
    except FlowkitError as error:
        raise NotApplicable("it cannot be loaded") from error


def _cases_of(entry: Entry, plugins: PluginManager) -> Iterator[Case]:
    registry, label = plugins.registry, f"{entry.component.kind} {plugins.registry.name_of(entry)}"
    declared = Subject("component", entry, registry)
    yield Case(label, declared, tuple(DECLARATION))
    try:
        form = form_of(registry.load(entry), registry.kinds)
    except FlowkitError:
        return
    missing = _required(form)
    if missing and not entry.component.examples:
        names = " and ".join(f"`{name}`" for name in missing)
        reason = f"needs {names}: give the component `examples`, or check an object in your own tests"
        yield Case(label, declared, (_can_be_made(NotChecked(reason)),))
    for settings in (*(() if missing else ({},)), *entry.component.examples):
        yield from _cases_of_settings(entry, form, settings, plugins, label)


def _cases_of_settings(
    entry: Entry, form: Form, settings: Mapping[str, Any], plugins: PluginManager, label: str
) -> Iterator[Case]:
    label += f" {_shown(settings)}" if settings else ""
    checks = (_can_be_made(), *checks_of(entry.component.kind, plugins.registry))
    takes_labels = "num_classes" in form.injected.values()
    for num_classes in (None, 3) if takes_labels else (None,):
        try:
            component, shape = _make(entry, settings, num_classes, plugins)
        except Exception as error:
            failure = AssertionError(str(error))
            yield Case(label, Subject("component", entry, plugins.registry), (_can_be_made(failure),))
            return
        name = label + (f" for {shape}" if form.injected or shape != SHAPES[0] else "")
        name += f", {num_classes} classes" if num_classes else ""
        subject = Subject(entry.component.kind, component, plugins.registry, shape, num_classes)
        yield Case(name, subject, checks)


def _make(
    entry: Entry, settings: Mapping[str, Any], num_classes: int | None, plugins: PluginManager
) -> tuple[Any, tuple[int, ...]]:
    """The component, and the first shape of events that it takes."""
    kind, name = entry.component.kind, plugins.registry.name_of(entry)
    refusals: dict[str, str] = {}
    made: list[tuple[Any, tuple[int, ...]]] = []
    for shape in SHAPES:
        injected = {"event_shape": shape, "outputs": 1, "num_classes": num_classes}
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                component = create(kind, name, plugins=plugins, **(injected | dict(settings)))
                made.append((component, shape))
                _use(Subject(kind, component, plugins.registry, shape, num_classes))
        except Exception as error:
            refusals.setdefault(str(error), f"for events {shape}: {error}")
        else:
            return component, shape
    if made and kind != "network":  # then the checks say what is wrong
        return made[0]
    raise ValueError("; ".join(refusals.values() if len(refusals) > 1 else refusals))


def _use(subject: Subject) -> None:
    """Fail where the component does not take events of this shape."""
    if isinstance(subject.component, Source) and (problems := subject.component.problems(subject.event_shape)):
        raise ValueError(problems[0])
    with contextlib.suppress(NotApplicable):
        use_of(subject)(subject.copy())


def _required(form: Form) -> list[str]:
    """The settings that have no default."""
    plain = [name for name, field in form.model.model_fields.items() if field.is_required()]
    return plain + [name for name, slot in form.slots.items() if slot.default is REQUIRED]


def _shown(settings: Mapping[str, Any]) -> str:
    """Settings in a label: `turns=2`, long values cut."""
    texts = {name: str(value) for name, value in settings.items()}
    return " ".join(f"{name}={text if len(text) < 40 else text[:36] + '...'}" for name, text in texts.items())
