"""A whole configuration: read from what a user wrote, checked in one go, complete."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigError, FlowkitError, FlowkitWarning, Problem, did_you_mean
from ..plugins.manager import PluginManager
from ..plugins.registry import Registry
from ..processes import launched
from .choice import Choice, dump
from .files import merge
from .form import REQUIRED, Slot
from .resolve import Resolver
from .sections import EVALUATION, FORMS, SAMPLING, TrainingSettings
from .suggestions import places_called

__all__ = ["COMPONENTS", "SECTIONS", "Config", "read_config"]

COMPONENTS = ("data", "source", "coupling", "path", "network", "head", "loss")
"""The sections that are one component each, in the order in which data flow."""

SECTIONS = (*COMPONENTS, "training", "sampling", "evaluation", "callbacks", "provenance")
"""Everything that a configuration may hold."""


@dataclass(frozen=True)
class Config:
    """A complete, valid configuration.

    Arguments:
        components: `COMPONENTS` to choices.
        training: How training runs.
        sampling: `integrator`, `grid`, `diffusion`, `guidance`, `schedule`, `steps`, `batch_size`,
            `compile`.
        evaluation: `metrics`, `samples`, `repeats`.
        callbacks: What watches training.
        unnamed: The sections of one component that were left to the default.
    """

    components: Mapping[str, Choice]
    training: TrainingSettings
    sampling: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    callbacks: list[Choice]
    unnamed: frozenset[str] = frozenset()

    def dump(self) -> dict[str, Any]:
        """Plain data, every default written out."""
        return {key: dump(choice) for key, choice in self.components.items()} | {
            "training": dump(self.training),
            "sampling": dump(self.sampling),
            "evaluation": dump(self.evaluation),
            "callbacks": dump(self.callbacks),
        }

    def choices(self) -> list[Choice]:
        """Every choice in it, nested ones too."""
        return _choices_in([dict(self.components), dict(self.sampling), dict(self.evaluation), self.callbacks])

    def choices_of(self, *sections: str) -> list[Choice]:
        """Every choice in `sampling`, or in sections that are one component each, nested ones too."""
        return _choices_in([self.sampling if name == "sampling" else self.components[name] for name in sections])

    def warn_of_steps(self, registry: Registry) -> None:
        """Warn that `sampling.steps`, which was asked for, makes no difference, where that is so."""
        for choice in (self.sampling["integrator"], self.sampling["grid"]):
            if _class_of(choice, registry).own_steps and launched().is_main:
                text = f"sampling.steps: makes no difference: {choice.kind} {choice.name!r} has steps of its own"
                warnings.warn(text, FlowkitWarning, stacklevel=5)

    def with_sampling(self, given: Mapping[str, Any], registry: Registry) -> "Config":
        """The configuration with some settings of `sampling` changed; a mapping without a name changes the component
        that is there.

        Raises:
            ConfigError: They do not make sense.
        """
        resolver = Resolver(registry)
        current = {key: _as_given(value) for key, value in self.sampling.items()}
        changes = {key: _put_over(self.sampling.get(key), value, f"sampling.{key}") for key, value in given.items()}
        sampling = _sampling(resolver, current | changes)
        if resolver.problems:
            raise ConfigError(resolver.problems)
        if "diffusion" not in given and not _class_of(sampling["integrator"], registry).solves_sde():
            sampling["diffusion"] = None  # it belonged to the integrator before
        return replace(self, sampling=sampling)


def _choices_in(value: Any) -> list[Choice]:
    if isinstance(value, Choice):
        return [value, *_choices_in(value.settings)]
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [choice for item in inside for choice in _choices_in(item)]


def read_config(
    given: Mapping[str, Any],
    plugins: PluginManager,
    recipe: Mapping[str, Any] | None = None,
    may_be_absent: Collection[str] = (),
) -> Config:
    """Check a configuration as a whole and fill it in.

    Arguments:
        given: Sections to names, mappings, or objects; those left out take the defaults that plugins declare.
        plugins: The plugins there are.
        recipe: What `given` was made from: sections that are still the same need no look at their settings, and no
            import of their components, to report a mistake elsewhere.
        may_be_absent: Sections whose Python objects, which a file cannot hold, are not needed.

    Raises:
        ConfigError: With every problem found, not the first.
    """
    quick = Resolver(plugins.registry, True, may_be_absent)
    _read(_with_defaults(_changed(given, recipe or {}), quick), quick)
    if quick.problems:
        raise ConfigError(quick.problems)
    resolver = Resolver(plugins.registry, False, may_be_absent)
    config = _read(_with_defaults(given, resolver), resolver)
    if resolver.problems:
        raise ConfigError(resolver.problems)
    return replace(config, unnamed=frozenset(kind for kind in COMPONENTS if given.get(kind) is None))


def _changed(given: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The sections, with those that are as in the recipe reduced to the names of their components."""
    return {key: _names(value) if key in recipe and recipe[key] == value else value for key, value in given.items()}


def _names(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value["name"] if "name" in value else {key: _names(item) for key, item in value.items()}
    return [_names(item) for item in value] if isinstance(value, list) else value


def _with_defaults(given: Mapping[str, Any], resolver: Resolver) -> dict[str, Any]:
    """The sections with the defaults of their kinds where nothing was chosen."""
    filled = dict(given)
    event = _event(given.get("data"), resolver.registry)
    for kind in COMPONENTS[1:]:
        filled[kind] = _filled(filled.get(kind), kind, kind, event, resolver)
    components = {kind: filled.get(kind) for kind in COMPONENTS}
    for name in given:
        if name not in SECTIONS:
            hint = places_called(str(name), components, resolver.registry) or did_you_mean(str(name), SECTIONS)
            resolver.problem(str(name), f"no such section{hint}; sections: {', '.join(SECTIONS)}")
    sampling, evaluation = filled.get("sampling") or {}, filled.get("evaluation") or {}
    if isinstance(sampling, Mapping):
        parts = {name: _filled(sampling.get(name), name, f"sampling.{name}", event, resolver) for name in _SAMPLERS}
        filled["sampling"] = {**sampling, **parts}
    if isinstance(evaluation, Mapping) and evaluation.get("metrics") is None:
        metric = _filled(None, "metric", "evaluation.metrics", event, resolver)
        filled["evaluation"] = {**evaluation, "metrics": [metric] if metric else []}
    return filled


_SAMPLERS = ("integrator", "grid")


def _filled(given: Any, kind: str, where: str, event: str, resolver: Resolver) -> Any:
    """What was chosen, or the default of the kind, with the settings given without a name."""
    if given is not None and not (isinstance(given, Mapping) and not {"name", "instance"} & given.keys()):
        return given
    try:
        default = resolver.registry.default(kind, event)
    except FlowkitError as error:
        resolver.problem(where, str(error))
        return given
    return {"name": default.qualified} | dict(given or {}) if default else given


def _event(data: Any, registry: Registry) -> str:
    """What sort of event the chosen data are made of."""
    name = data.get("name") if isinstance(data, Mapping) else data
    if isinstance(name, str):
        for entry in registry.of_kind("data"):
            if name in (entry.component.name, entry.qualified):
                return entry.component.yields
    registered = registry.entry_of("data", data)
    return registered.component.yields if registered else "vector"


def _read(given: Mapping[str, Any], resolver: Resolver) -> Config:
    components = {kind: resolver.slot(Slot(kind), given.get(kind, REQUIRED), kind) for kind in COMPONENTS}
    training = resolver.form(FORMS["training"], given.get("training"), "training")
    sampling = _sampling(resolver, given.get("sampling"))
    evaluation = resolver.form(EVALUATION, given.get("evaluation"), "evaluation")
    callbacks = resolver.slot(Slot("callback", many=True), given.get("callbacks"), "callbacks")
    settings = TrainingSettings.model_construct(**training)
    return Config(components, settings, sampling, evaluation, callbacks)


def _sampling(resolver: Resolver, given: Any) -> dict[str, Any]:
    """The section `sampling`, where an SDE integrator gets a diffusion coefficient if it was given none."""
    sampling = resolver.form(SAMPLING, given, "sampling")
    integrator = sampling.get("integrator")
    if resolver.check_only or integrator is None:
        return sampling
    if sampling["diffusion"] is None and _class_of(integrator, resolver.registry).solves_sde():
        default = resolver.registry.default("diffusion")
        if default:
            sampling["diffusion"] = resolver.choice("diffusion", default.qualified, "sampling.diffusion")
    return sampling


def _class_of(choice: Choice, registry: Registry) -> Any:
    return type(choice.instance) if choice.entry is None else registry.load(choice.entry)


def _as_given(value: Any) -> Any:
    """A resolved value in a form that can be resolved again."""
    if isinstance(value, Choice):
        return value.instance if value.instance is not None else dump(value)
    return value


def _put_over(before: Any, given: Any, where: str) -> Any:
    """What was given; settings without a name are put over those of the component that is there."""
    if not isinstance(before, Choice) or not isinstance(given, Mapping) or {"name", "instance"} & given.keys():
        return given
    if before.entry is None:
        text = f"is an object of {before.name}, whose settings are its own: give an object, or a name beside {given!r}"
        raise ConfigError([Problem(where, text)])
    return merge(_written_out(before), given)


def _written_out(value: Any) -> Any:
    """A choice as a mapping of its settings; objects that no file could hold stay what they are."""
    if isinstance(value, list):
        return [_written_out(item) for item in value]
    if not isinstance(value, Choice):
        return value
    if value.entry is None:
        return value.instance
    return {"name": value.name} | {key: _written_out(setting) for key, setting in value.settings.items()}
