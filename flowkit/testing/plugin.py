"""The checks of a whole plugin: what it declares, and every component made in the ways that it says."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..config.form import REQUIRED, Form, form_of
from ..errors import FlowkitError, UnknownComponentError, did_you_mean
from ..interfaces.data import DataSource, InMemory
from ..interfaces.source import Source
from ..pipeline.create import create
from ..plugins.manager import PluginManager, PluginRecord, installed_plugins
from ..plugins.registry import Entry
from .check import Check, NotApplicable, NotChecked, Subject, seeded
from .declaration import DECLARATION, PLUGIN, can_be_made_unless, recipes_are_valid_of
from .report import Outcome, Report
from .run import checks_of, run_check
from .use import use_of

__all__ = ["Case", "check_plugin", "plugin_cases"]

SHAPES: tuple[tuple[int, ...], ...] = ((2,), (1, 8, 8), (3, 16, 16))
"""Events that a network, or a source, is tried on until it takes one."""


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
            yield Case(f"plugin {record.name}", subject, (*PLUGIN, recipes_are_valid_of(record, plugins)))
    for entry in entries:
        yield from _cases_of(entry, plugins)


def _records(name: str, plugins: PluginManager) -> list[PluginRecord]:
    wanted = _plain(name)
    records = [r for r in plugins.records if wanted in (_plain(r.name), _plain(r.distribution))]
    if records:
        return records
    distributions = list(dict.fromkeys(r.distribution for r in plugins.records))
    nearest = did_you_mean(name, [*distributions, *(r.name for r in plugins.records)])
    raise UnknownComponentError(
        f"there is no plugin {name!r}{nearest}; plugins: {', '.join(distributions) or 'none'} (see: flowkit plugins)"
    )


def _plain(name: str) -> str:
    distribution, colon, point = name.partition(":")
    return distribution.lower().replace("_", "-").replace(".", "-") + colon + point


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
        yield Case(label, declared, (can_be_made_unless(NotChecked(reason)),))
    for settings in (*(() if missing else ({},)), *entry.component.examples):
        yield from _cases_of_settings(entry, form, settings, plugins, label)


def _cases_of_settings(
    entry: Entry, form: Form, settings: Mapping[str, Any], plugins: PluginManager, label: str
) -> Iterator[Case]:
    label += f" {_shown(settings)}" if settings else ""
    checks = (can_be_made_unless(), *checks_of(entry.component.kind, plugins.registry))
    takes_labels = "num_classes" in form.injected.values()
    for num_classes in (None, 3) if takes_labels else (None,):
        try:
            component, shape = _make(entry, settings, num_classes, plugins)
        except Exception as error:
            failure = AssertionError(str(error))
            yield Case(label, Subject("component", entry, plugins.registry), (can_be_made_unless(failure),))
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
        injected = {"event_shape": shape, "outputs": 1, "num_classes": num_classes, "training_data": _pairs(shape)}
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


def _pairs(shape: tuple[int, ...]) -> Callable[[], DataSource]:
    """Data in pairs (x0, z) for a component that asks for those of the pipeline."""
    x0, z = torch.randn(2, 64, *shape, generator=seeded(0))
    return functools.partial(InMemory, z, None, x0)


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
