"""Builds a pipeline step by step, in Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.config import read_config
from ..config.files import merge, read_yaml
from ..errors import ConfigError, Problem
from ..plugins.manager import PluginManager, installed_plugins
from .pipeline import Pipeline
from .recipes import recipe_config

__all__ = ["PipelineBuilder"]


class PipelineBuilder:
    """Gathers the parts of a pipeline; every step takes a registered name with settings, or an object.

    What is left out takes the default that a plugin declares for its kind.

    Arguments:
        plugins: Where names are looked up; the installed plugins by default.
    """

    def __init__(self, plugins: PluginManager | None = None) -> None:
        self.plugins = plugins or installed_plugins()
        self._given: dict[str, Any] = {}

    def data(self, data: Any, /, **settings: Any) -> "PipelineBuilder":
        """Where data points come from."""
        return self._choose("data", data, settings)

    def source(self, source: Any, /, **settings: Any) -> "PipelineBuilder":
        """The distribution at t = 0."""
        return self._choose("source", source, settings)

    def coupling(self, coupling: Any, /, **settings: Any) -> "PipelineBuilder":
        """Which x0 goes with which z."""
        return self._choose("coupling", coupling, settings)

    def path(self, path: Any, /, **settings: Any) -> "PipelineBuilder":
        """The conditional probability path."""
        return self._choose("path", path, settings)

    def network(self, network: Any, /, **settings: Any) -> "PipelineBuilder":
        """The network; any `nn.Module` with `forward(x, t, y=None)` is one."""
        return self._choose("network", network, settings)

    def head(self, head: Any, /, **settings: Any) -> "PipelineBuilder":
        """What the network's output means."""
        return self._choose("head", head, settings)

    def loss(self, loss: Any, /, **settings: Any) -> "PipelineBuilder":
        """What training regresses."""
        return self._choose("loss", loss, settings)

    def training(self, **settings: Any) -> "PipelineBuilder":
        """How training runs: steps, batch_size, learning_rate, ..."""
        return self._set("training", settings)

    def sampling(self, integrator: Any = None, **settings: Any) -> "PipelineBuilder":
        """How samples are drawn: integrator, steps, grid, diffusion, guidance, schedule, batch_size, compile."""
        return self._set("sampling", ({"integrator": integrator} if integrator is not None else {}) | settings)

    def evaluation(self, metrics: Any = None, **settings: Any) -> "PipelineBuilder":
        """How samples are measured: metrics, samples, repeats."""
        return self._set("evaluation", ({"metrics": metrics} if metrics is not None else {}) | settings)

    def callbacks(self, *callbacks: Any) -> "PipelineBuilder":
        """What watches training."""
        self._given["callbacks"] = list(callbacks)
        return self

    def from_config(self, config: str | Path | Mapping[str, Any]) -> "PipelineBuilder":
        """Put a YAML file, or a mapping of sections, over what was given so far."""
        given = config if isinstance(config, Mapping) else read_yaml(Path(config))
        self._given = merge(self._given, given)
        return self

    def recipe(self, name: str) -> "PipelineBuilder":
        """Put a recipe over what was given so far."""
        return self.from_config(recipe_config(name, self.plugins))

    def build(self) -> Pipeline:
        """Check that everything fits, and make the pipeline.

        Raises:
            ConfigError: With every problem found.
        """
        return Pipeline(read_config(self._given, self.plugins), self.plugins)

    def _choose(self, kind: str, given: Any, settings: Mapping[str, Any]) -> "PipelineBuilder":
        if settings and not isinstance(given, str):
            raise ConfigError([Problem(kind, f"settings go with the name of a {kind}; got them beside {given!r}")])
        self._given[kind] = {"name": given, **settings} if isinstance(given, str) else given
        return self

    def _set(self, section: str, settings: Mapping[str, Any]) -> "PipelineBuilder":
        self._given[section] = {**self._given.get(section, {}), **settings}
        return self
