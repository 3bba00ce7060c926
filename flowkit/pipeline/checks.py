"""Whether the parts of a pipeline fit, asked before anything is trained; all problems at once."""

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..config.config import Config
from ..errors import ConfigError, FlowkitWarning, Problem
from ..interfaces.data import DataSource, DataSpec, Normalization
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from ..plugins.registry import Registry
from ..sampling import Sampler
from ..shapes import batch_times
from .naming import named

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["check_alike", "check_data", "check_parts", "check_sampler"]


_FEW, _NUMBERS, _FAR = 64, 2**20, 8.0
"""Data points that are looked at, of so many numbers in all; how far from 0, and from a deviation of 1, is told."""


def check_parts(pipeline: "Pipeline", config: Config, registry: Registry) -> None:
    """Check every pair of parts that must agree.

    Raises:
        ConfigError: With every problem found.
    """
    problems = [Problem(where, named(message, config, registry)) for where, message in _part_problems(pipeline, config)]
    if reason := _network_problem(pipeline):
        problems.append(Problem("network", reason))
    if problems:
        raise ConfigError(problems)


def check_data(data: DataSource, normalization: Normalization, path: Path) -> None:
    """Look at some data points before training: refuse conditions that sampling would not know of and points that the
    path has not among its states, and warn of units in which networks learn badly.

    Raises:
        ConfigError: They give conditions, and their `spec` no number of classes; or the path cannot end at them.
    """
    count = max(2, min(_FEW, _NUMBERS // math.prod(data.spec.event_shape)))
    few = data.draw(count, torch.Generator().manual_seed(0))
    z = normalization.normalize(few.z)
    if reason := path.compatible_data(z):
        as_given = bool((normalization.shift == 0).all() and (normalization.scale == 1).all())
        units = "" if as_given else f"; {type(data).__name__} says a `normalization`, which shifts and scales them"
        raise ConfigError(f"data: {reason}{units}")
    z = z.double()
    mean, deviation = float(z.mean()), float(z.std())
    if z.isfinite().all() and (abs(mean) > _FAR * max(1, deviation) or not 1 / _FAR < deviation < _FAR):
        warnings.warn(
            f"data: as the model sees them their mean is {mean:.3g} and their deviation {deviation:.3g}; networks "
            f"learn numbers around 0 and 1 best: let {type(data).__name__} say a `normalization`",
            FlowkitWarning,
            stacklevel=3,
        )
    if data.spec.num_classes is None and few.y is not None:
        raise ConfigError(
            f"data: {type(data).__name__} gives conditions y, and its spec no num_classes: in a pipeline conditions "
            "are class labels 0, 1, ... Leave y out, or train the model by itself, which takes any condition"
        )


def check_alike(known: DataSpec, found: DataSpec) -> None:
    """Check that a model may be asked about data, which need not be those that it was trained on.

    Arguments:
        known: What it was trained on.
        found: The data.

    Raises:
        ConfigError: They have another shape, or other classes.
    """
    if found.event_shape != known.event_shape:
        raise ConfigError(
            f"data: their points have shape {found.event_shape}, and those of the run {known.event_shape}"
        )
    if found.class_names and known.class_names and found.class_names != known.class_names:
        names, learned = ", ".join(found.class_names), ", ".join(known.class_names)
        raise ConfigError(f"data: their classes are {names}, and those of the run {learned}")
    if known.num_classes is not None and (found.num_classes or 0) > known.num_classes:
        raise ConfigError(f"data: have {found.num_classes} classes, and the run {known.num_classes}")


def check_sampler(pipeline: "Pipeline", sampler: Sampler, config: Config, registry: Registry) -> None:
    """Check that a sampler goes with a model, under a configuration that both are of.

    Raises:
        ConfigError: With every problem found.
    """
    found = _sampler_problems(pipeline, sampler, config.training.condition_dropout)
    problems = [Problem(where, named(message, config, registry)) for where, message in found]
    if problems:
        raise ConfigError(problems)


def _part_problems(pipeline: "Pipeline", config: Config) -> Iterator[tuple[str, str]]:
    model, spec = pipeline.model, pipeline.spec
    if reason := pipeline.path.compatible_source(pipeline.source):
        yield "source", reason
    for message in pipeline.path.problems(spec.event_shape):
        yield "path", message
    for message in pipeline.source.problems(spec.event_shape):
        yield "source", message
    for message in pipeline.coupling.problems(spec):
        yield "coupling", message
    for message in model.head.problems(pipeline.path):
        yield "head", message
    for message in (*pipeline.loss.problems(model), *_exact_field_problems(pipeline)):
        yield "loss", message
    yield from _sampler_problems(pipeline, pipeline.sampler, config.training.condition_dropout)
    for i, metric in enumerate(pipeline.metrics):
        for message in metric.problems(spec.num_classes):
            yield f"evaluation.metrics[{i}]", message
    if config.evaluation["every"] and not pipeline.metrics:
        yield "evaluation.every", f"is {config.evaluation['every']}, and there are no metrics: set it to null"
    if spec.paired and "source" in config.unnamed:
        yield (
            "source",
            "these data come in pairs (x0, z): say where sampling starts: 'data' (from x0 of the pairs), or "
            "'gaussian' (from noise, if that is what the x0 are)",
        )
    if config.training.condition_dropout and spec.num_classes is None:
        yield (
            "training.condition_dropout",
            f"is {config.training.condition_dropout:g}, and these data have no labels to drop: set it to 0",
        )


def _sampler_problems(pipeline: "Pipeline", sampler: Sampler, dropout: float) -> Iterator[tuple[str, str]]:
    for message in sampler.problems(pipeline.model, pipeline.path):
        yield "sampling", message
    if reason := _unknown_score(pipeline, sampler):
        yield "sampling", reason
    guidance = sampler.guidance
    if guidance is not None and guidance.uses_condition and pipeline.spec.num_classes is None:
        yield "sampling.guidance", "needs labels to guide by, and these data have none"
    elif guidance is not None and guidance.needs_dropped_conditions and not dropout:
        yield (
            "training.condition_dropout",
            f"is 0, and {type(guidance).__name__} needs a model that has also learned without labels: train with 0.1",
        )


def _exact_field_problems(pipeline: "Pipeline") -> Iterator[str]:
    """Why the field that the loss is given is not that of the ends of these paths."""
    exact, coupling = pipeline.loss.exact, pipeline.coupling
    if exact is None:
        return
    if exact.independent is not None and exact.independent is not coupling.independent:
        ours, theirs = ("independent" if part.independent else "dependent" for part in (coupling, exact))
        yield (
            f"exact is a field of {theirs} x0 and z, and those of {type(coupling).__name__} are {ours}: use the "
            f"coupling 'independent' for both"
        )
    path, source = getattr(exact, "path", None), pipeline.source
    reason = path.compatible_source(source) if isinstance(path, Path) else None
    if reason and pipeline.path.compatible_source(source) is None:
        yield f"exact is a field of another source: {reason}"


def _unknown_score(pipeline: "Pipeline", sampler: Sampler) -> str | None:
    """Where x0 and z depend on each other, -E[x0|x] / beta is not the score of a Gaussian path."""
    integrator, coupling, path = sampler.integrator, pipeline.coupling, pipeline.path
    if integrator.own_noise and not pipeline.model.can_predict(Quantity.SCORE):  # jumps, say
        return None
    needs_score = integrator.stochastic or Quantity.SCORE in integrator.needs
    if not needs_score or coupling.independent or path.two_sided:
        return None
    return (
        f"{type(integrator).__name__} needs the score, and {type(path).__name__} has it only if x0 and z are "
        f"independent, which {type(coupling).__name__} does not leave them: use an ODE integrator, the coupling "
        f"'independent', or a two-sided path with gamma"
    )


def _network_problem(pipeline: "Pipeline") -> str | None:
    """Try the network on two points: the only way to know what a stranger's module takes and returns."""
    spec, outputs = pipeline.spec, pipeline.model.head.outputs
    network = pipeline.model.network
    name = type(network).__name__
    parameter = next(network.parameters(), torch.zeros(()))
    x = torch.zeros(2, *spec.event_shape, dtype=parameter.dtype, device=parameter.device)
    y = None if spec.num_classes is None else torch.zeros(2, dtype=torch.int64, device=parameter.device)
    was_training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out = network.eval()(x, batch_times(0.5, x), y)
    except Exception as error:
        reason = " ".join(str(error).split())
        return (
            f"{name} does not take data of shape {spec.event_shape}"
            f"{' with labels' if spec.num_classes else ''}: {type(error).__name__}: {reason}"
        )
    finally:
        network.train(was_training)
    wanted = (2, outputs * spec.event_shape[0], *spec.event_shape[1:])
    if getattr(out, "shape", None) != wanted:
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
        return f"{name} returns {shape} for data of shape {(2, *spec.event_shape)}; the head needs {wanted}"
    return None
