"""One call that samples, or that follows samples back: the settings it changes, the sampler and the model it uses."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from ..conditions import to_device
from ..config.config import Config
from ..errors import FlowkitError
from ..model import Model
from ..plugins.registry import Registry
from ..sampling import Cost, Sampler
from ..threads import suitable_threads
from .checks import check_sampler
from .naming import rename
from .parts import build_sampler

if TYPE_CHECKING:
    from .pipeline import Pipeline

__all__ = ["SamplingCall"]

_PILOTS = 64
"""Samples that a grid may look at before it is laid."""


class SamplingCall:
    """A pipeline with some settings of the section `sampling` changed.

    Arguments:
        pipeline: The pipeline.
        config: Its configuration.
        registry: Where its components are.
        changes: The settings to change, such as `integrator="euler"` or `steps=10`.
        cost: Has what it takes to fit the grid to the model added to it, if the grid looks at models.

    Raises:
        ConfigError: They do not make sense, or do not fit the model.
    """

    def __init__(
        self,
        pipeline: "Pipeline",
        config: Config,
        registry: Registry,
        changes: Mapping[str, Any],
        cost: Cost | None = None,
    ) -> None:
        self.pipeline, self._registry = pipeline, registry
        self._config = config.with_sampling(changes, registry) if changes else config
        sampler = build_sampler(self._config, registry, pipeline.spec) if changes else pipeline.sampler
        if changes:
            self.check(sampler)
        self.sampler = self._fitted(sampler, cost)

    @property
    def settings(self) -> Mapping[str, Any]:
        """All of the section `sampling`."""
        return self._config.sampling

    @property
    def plain_settings(self) -> dict[str, Any]:
        """All of the section `sampling`, as plain data."""
        settings: dict[str, Any] = self._config.dump()["sampling"]
        return settings

    @property
    def can_be_told_again(self) -> bool:
        """Whether its settings say all of how samples are drawn. Objects that are not registered keep theirs to
        themselves.
        """
        parts = (*self._config.choices_of("sampling"), *self._config.choices_of("source", "path", "head"))
        return all(choice.entry is not None for choice in parts)

    @property
    def batch_size(self) -> int:
        """How many samples are drawn at once."""
        size: int = self.settings["batch_size"]
        return size

    @cached_property
    def model(self) -> Model:
        """What samples are drawn from: the model, or its compiled twin."""
        return self.pipeline.sampled_model(self.settings)

    def check(self, sampler: Sampler) -> None:
        """Check that a sampler goes with the model.

        Raises:
            ConfigError: It does not.
        """
        check_sampler(self.pipeline, sampler, self._config, self._registry)

    def warn_of_steps(self) -> None:
        """Warn that the number of steps makes no difference, where that is so."""
        self._config.warn_of_steps(self._registry)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout and the like off while sampling; afterwards the model is as it was, perhaps amid training."""
        model = self.pipeline.model
        was_training = model.training
        model.eval()
        try:
            with suitable_threads(model):
                yield
        except FlowkitError as error:
            rename(error, self._config, self._registry)
            raise
        finally:
            model.train(was_training)

    @torch.no_grad()
    def _fitted(self, sampler: Sampler, cost: Cost | None) -> Sampler:
        """The sampler with its grid fitted to the model, the same for every seed and number of samples."""
        if not sampler.looks_at_models:
            return sampler
        pipeline = self.pipeline
        with self.evaluating():
            generator = torch.Generator(pipeline.device).manual_seed(0)
            shape, dtype = pipeline.spec.event_shape, pipeline.model.dtype
            x0 = pipeline.source.sample(_PILOTS, shape, generator, pipeline.device, dtype)
            y = to_device(pipeline.labels(_PILOTS), pipeline.device)
            return sampler.fitted(pipeline.model, pipeline.path, x0, y, cost)
