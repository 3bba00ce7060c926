"""From data back to noise by the ODE of a model: the noise itself, and the density on the way."""

from dataclasses import replace

import torch
from torch import Tensor

from ..conditions import select_condition, to_device
from ..divergence import Divergence
from ..errors import ConfigError, UnsupportedError
from ..likelihood import LogProb, estimate_log_prob
from ..random import BlockGenerator
from ..sampling import Cost
from .arguments import Labels
from .call import SamplingCall
from .memory import FittingBatches

__all__ = ["density_of", "noise_of"]


def noise_of(call: SamplingCall, x: Tensor, y: Labels | None, cost: Cost | None) -> Tensor:
    """What `Pipeline.encode` returns."""
    pipeline, sampler = call.pipeline, call.sampler
    _need_labels(call, "the noise", y)
    if sampler.integrator.stochastic:
        name = type(sampler.integrator).__name__
        raise UnsupportedError(f"{name} draws noise, and encoding follows the ODE: choose an ODE integrator")
    _, path = sampler.sampled(pipeline.model, pipeline.path)
    grid = sampler.grid(path)
    if path.start_noise(grid[0]):
        raise UnsupportedError(
            f"{type(path).__name__} adds noise of its own to x0 at t = {grid[0]:g}, and data do not say which: choose "
            "a gamma that is 0 at t = 0, and a grid that begins there"
        )
    backwards = replace(sampler, times=grid[::-1])
    call.check(backwards)
    x, model = _states(call, x), call.model
    labels = to_device(pipeline.labels(len(x), y), pipeline.device)

    def encode(start: int, count: int) -> Tensor:
        part = slice(start, start + count)
        return backwards.sample(model, pipeline.path, x[part], select_condition(labels, part), cost=cost)

    with call.evaluating():
        found = [noise.cpu() for _, noise in FittingBatches(call.batch_size).over(range(len(x)), encode)]
    x0 = torch.cat([x[:0].cpu(), *found]) / path.start_scale(grid[0])
    return pipeline.source.normalization.denormalize(x0)


def density_of(call: SamplingCall, x: Tensor, y: Labels | None, divergence: Divergence | None, seed: int) -> LogProb:
    """What `Pipeline.estimate_log_prob` returns."""
    pipeline = call.pipeline
    _need_labels(call, "the density", y)
    x = _states(call, x)
    labels = to_device(pipeline.labels(len(x), y), pipeline.device)
    model, path = call.sampler.sampled(pipeline.model, pipeline.path, labels)

    def estimate(start: int, count: int) -> LogProb:
        part = slice(start, start + count)
        return estimate_log_prob(
            model,
            x[part],
            select_condition(labels, part),
            source=pipeline.source,
            integrator=call.sampler.integrator,
            times=call.sampler.grid(path),
            path=path,
            divergence=divergence,
            generator=BlockGenerator(seed, start, count, pipeline.device),
        )

    with call.evaluating():
        found = [estimated for _, estimated in FittingBatches(call.batch_size).over(range(len(x)), estimate)]
    values, errors = (
        torch.cat(parts).cpu() for parts in (zip(*found, strict=True) if found else [[x.new_empty(0)]] * 2)
    )
    return LogProb(values + pipeline.normalization.log_det(pipeline.spec.event_shape), errors)


def _states(call: SamplingCall, x: Tensor) -> Tensor:
    """Data as the model takes them, on its device."""
    pipeline = call.pipeline
    x = torch.as_tensor(x).to(pipeline.device)
    if x.shape[1:] != pipeline.spec.event_shape:
        shape = ", ".join(map(str, pipeline.spec.event_shape))
        raise ConfigError(f"x should have shape (batch, {shape}); got {tuple(x.shape)}")
    return pipeline.normalization.normalize(x).to(pipeline.model.dtype)


def _need_labels(call: SamplingCall, what: str, y: Labels | None) -> None:
    if y is None and call.pipeline.spec.num_classes is not None:
        raise UnsupportedError(f"{what} of a conditional model depends on the label: give y (-1: none)")
