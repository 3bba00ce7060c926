"""Makes the objects that a configuration describes. Every part that is refused is reported, not the first alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..config.choice import build
from ..config.config import Config
from ..config.sections import SAMPLING
from ..errors import Gathered
from ..interfaces.coupling import Coupling
from ..interfaces.data import DataSource, DataSpec, Normalization
from ..interfaces.loss import Loss
from ..interfaces.metric import Metric
from ..interfaces.path import Path
from ..interfaces.source import Source
from ..model import Model
from ..plugins.registry import Registry
from ..random import derive_seed
from ..sampling import Sampler

__all__ = ["Parts", "build_network", "build_parts", "build_sampler", "known_of"]


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of, beside the data themselves."""

    spec: DataSpec
    normalization: Normalization
    source: Source
    coupling: Coupling
    path: Path
    loss: Loss
    model: Model
    sampler: Sampler
    metrics: list[Metric]


def build_parts(
    config: Config,
    registry: Registry,
    describe_data: Callable[[], tuple[DataSpec, Normalization]],
    training_data: Callable[[], DataSource],
) -> Parts:
    """Make every part.

    Arguments:
        config: What to make.
        registry: Where the components are.
        describe_data: Gives the shape, classes and units of the data; it may have to load them.
        training_data: Gives the data themselves.

    Raises:
        ConfigError: Constructors refused their settings; all of them are listed.
        DataError: The data cannot be used, and nothing else is wrong.
    """
    gathered = Gathered()
    described = gathered.attempt("data", describe_data)
    known = {"training_data": training_data} | (known_of(described[0]) if described else {})

    def part(kind: str) -> Any:
        return _build_seeded(kind, config, registry, **known)

    source, coupling, path, head, loss = (
        gathered.attempt(kind, part, kind) for kind in ("source", "coupling", "path", "head", "loss")
    )
    sampler = _gather_sampler(config, registry, gathered, known)

    def listed(where: str) -> Any:
        return build(config.evaluation["metrics"], registry, where, **known)

    metrics = gathered.attempt("evaluation.metrics", listed, "evaluation.metrics")
    network: Any = None
    if described and head:
        network = gathered.attempt("network", build_network, config, registry, described[0], head.outputs)
    gathered.raise_any()
    spec, normalization = described
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    model = Model(network, head, path, torch.zeros(spec.event_shape, device=device))
    model.normalization = normalization
    return Parts(spec, normalization, source, coupling, path, loss, model, sampler, metrics)


def build_network(config: Config, registry: Registry, spec: DataSpec, outputs: int) -> nn.Module:
    """The network for data of this shape, its weights as the seed of the configuration gives them."""
    network: nn.Module = _build_seeded("network", config, registry, outputs=outputs, **known_of(spec))
    return network


def build_sampler(config: Config, registry: Registry, spec: DataSpec) -> Sampler:
    """The sampler that the section `sampling` describes, for data of this shape."""
    gathered = Gathered()
    sampler = _gather_sampler(config, registry, gathered, known_of(spec))
    gathered.raise_any()
    return sampler


def known_of(spec: DataSpec) -> dict[str, Any]:
    """What every component may have filled in, once the data are known."""
    return {"event_shape": spec.event_shape, "num_classes": spec.num_classes}


def _gather_sampler(config: Config, registry: Registry, gathered: Gathered, known: Mapping[str, Any]) -> Any:
    given = config.sampling

    def part(name: str) -> Any:
        return build(given[name], registry, f"sampling.{name}", **known)

    made = {name: gathered.attempt(f"sampling.{name}", part, name) for name in SAMPLING.slots}
    times = made.pop("grid")
    if made["integrator"] is None or times is None:
        return None
    return Sampler(times=times, steps=given["steps"], **made)


def _build_seeded(kind: str, config: Config, registry: Registry, **injected: Any) -> Any:
    """One part; what its constructor draws from torch's global generator comes from the seed of the configuration."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(derive_seed(config.training.seed, 0))
    try:
        return build(config.components[kind], registry, kind, **injected)
    finally:
        torch.set_rng_state(before)
