"""Whether the parts of a pipeline fit, asked before anything is trained; all problems at once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..config.config import Config
from ..errors import ConfigError, Problem
from ..interfaces.quantity import Quantity
from ..sampling import Sampler

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["check_parts", "sampler_problems"]


def check_parts(pipeline: "Pipeline", config: Config) -> None:
    """Check every pair of parts that must agree.

    Raises:
        ConfigError: With every problem found.
    """
    problems = [Problem(where, message) for where, message in _problems(pipeline, config)]
    if problems:
        raise ConfigError(problems)


def _problems(pipeline: "Pipeline", config: Config) -> Iterator[tuple[str, str]]:
    model, spec = pipeline.model, pipeline.spec
    if reason := pipeline.path.compatible_source(pipeline.source):
        yield "source", reason
    for message in pipeline.source.problems(spec.event_shape):
        yield "source", message
    for message in model.head.problems(pipeline.path):
        yield "head", message
    for message in pipeline.loss.problems(model):
        yield "loss", message
    network_problem = _network_problem(pipeline)
    if network_problem:
        yield "network", network_problem
    for message in sampler_problems(pipeline, pipeline.sampler):
        yield "sampling", message
    for i, metric in enumerate(pipeline.metrics):
        for message in metric.problems(spec.num_classes):
            yield f"evaluation.metrics[{i}]", message
    yield from _guidance_problems(pipeline, config)


def sampler_problems(pipeline: "Pipeline", sampler: Sampler) -> list[str]:
    """Why a sampler cannot sample from the model as it is trained."""
    found = sampler.problems(pipeline.model, pipeline.path)
    integrator, coupling = sampler.integrator, pipeline.coupling
    needs_score = integrator.stochastic or Quantity.SCORE in integrator.needs
    if needs_score and not coupling.independent and not pipeline.path.two_sided:
        found.append(
            f"{type(integrator).__name__} needs the score, and {type(pipeline.path).__name__} has it only if x0 and z "
            f"are independent, which {type(coupling).__name__} does not leave them: use an ODE integrator, the "
            f"coupling 'independent', or a two-sided path with gamma"
        )
    return found


def _guidance_problems(pipeline: "Pipeline", config: Config) -> Iterator[tuple[str, str]]:
    guidance, dropout = pipeline.sampler.guidance, config.training.condition_dropout
    if guidance is not None and pipeline.spec.num_classes is None:
        yield "sampling.guidance", "needs labels to guide by, and these data have none"
    elif guidance is not None and guidance.needs_dropped_conditions and not dropout:
        yield (
            "training.condition_dropout",
            f"is 0, and {type(guidance).__name__} needs a model that has also learned without labels: set it to 0.1",
        )
    if dropout and pipeline.spec.num_classes is None:
        yield (
            "training.condition_dropout",
            f"is {dropout:g}, and these data have no labels to drop: set it to 0",
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
            out = network.eval()(x, torch.full((2,), 0.5, dtype=x.dtype, device=x.device), y)
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
