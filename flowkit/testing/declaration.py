"""The checks of what a plugin declares, before any component is made."""

import importlib.metadata
import os
import subprocess
import sys

from ..config.config import read_config
from ..config.form import form_of
from ..errors import FlowkitError, did_you_mean
from ..pipeline.recipes import recipe_config
from ..plugins.manager import PluginManager, PluginRecord
from ..plugins.registry import Entry, resolve_target
from .check import Check, CheckList, NotApplicable, NotChecked, Subject, require

__all__ = ["DECLARATION", "PLUGIN", "can_be_made_unless", "recipes_are_valid_of"]

PLUGIN = CheckList()
"""Of the plugin itself: the component of the subject is a `PluginRecord`."""

DECLARATION = CheckList()
"""Of what it declares: the component of the subject is an `Entry`."""


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


@PLUGIN.add(hint="a target is 'package.module:name', and part of what is installed")
def names_what_can_be_imported(subject: Subject) -> None:
    """The targets of its commands, and the interfaces and checks of its kinds, can be imported."""
    record: PluginRecord = subject.component
    targets = {f"command {command.name!r}": command.target for command in record.commands}
    targets |= {f"kind {kind.name!r}": kind.interface for kind in record.kinds}
    targets |= {f"the checks of kind {kind.name!r}": kind.checks for kind in record.kinds if kind.checks}
    if not targets:
        raise NotApplicable("it has neither commands nor kinds")
    for what, target in targets.items():
        try:
            if isinstance(target, str):
                resolve_target(target)
        except Exception as error:
            raise AssertionError(f"{what}: {target}: {type(error).__name__}: {error}") from error


def recipes_are_valid_of(record: PluginRecord, plugins: PluginManager) -> Check:
    """The check of a plugin's recipes, which are read with the plugins that they were found with."""

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


def can_be_made_unless(failure: Exception | None = None) -> Check:
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
