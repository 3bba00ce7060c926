"""The pipeline: data, path, model and sampler that fit together; trained, sampled, saved and loaded as one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batch import Batch
from ..conditions import select_condition
from ..config.choice import build
from ..config.config import Config, read_config
from ..errors import CheckpointError, ConfigError, Gathered, UnsupportedError
from ..evaluation import Evaluation, evaluate
from ..interfaces.callback import Callback
from ..interfaces.data import DataSource, DataSpec, Normalization
from ..likelihood import log_prob
from ..model import Model
from ..plugins.manager import PluginManager, installed_plugins
from ..random import BLOCK, BlockGenerator, derive_seed
from ..sampling import Cost, Sampler
from ..threads import suitable_threads
from ..training.checkpoint import Checkpoint, latest_checkpoint
from .checks import check_parts
from .provenance import check_provenance, provenance
from .run import MetricsLog, RunFolder

if TYPE_CHECKING:
    from .builder import PipelineBuilder

__all__ = ["Pipeline"]

Labels = int | Sequence[int] | Tensor


class Pipeline:
    """All parts of a model under one configuration. Make one with `Pipeline.builder()` or `Pipeline.load()`.

    Arguments:
        config: The complete configuration.
        plugins: Where its components come from.
        spec: The shape and classes of the data, if they are known without loading the data.
        normalization: The units of the data, likewise.

    Raises:
        ConfigError: The parts do not fit; every problem is listed.
    """

    def __init__(
        self,
        config: Config,
        plugins: PluginManager | None = None,
        spec: DataSpec | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        self._config, self._plugins = config, plugins or installed_plugins()
        self._registry = self._plugins.registry
        gathered = Gathered()
        if spec is None or normalization is None:
            with gathered.within("data"):
                spec, normalization = self.data.spec, self.data.normalization
        built = {kind: self._build(kind, gathered) for kind in ("source", "coupling", "path", "head", "loss")}
        for name in ("integrator", "grid", "diffusion", "guidance"):
            with gathered.within(f"sampling.{name}"):
                build(config.sampling[name], self._registry, f"sampling.{name}")
        with gathered.within("evaluation.metrics"):
            self.metrics = build(config.evaluation["metrics"], self._registry, "evaluation.metrics")
        if spec is not None and built["head"] is not None:
            network = self._build(
                "network",
                gathered,
                event_shape=spec.event_shape,
                outputs=built["head"].outputs,
                num_classes=spec.num_classes,
            )
        gathered.raise_any()
        assert spec is not None
        assert normalization is not None
        self.spec, self.normalization = spec, normalization
        self.source, self.coupling, self.path, self.head, self.loss = built.values()
        self.model = Model(network, self.head, self.path, torch.zeros(spec.event_shape))
        self.sampler = self._sampler(config)
        check_parts(self, config)

    @staticmethod
    def builder(plugins: PluginManager | None = None) -> "PipelineBuilder":
        """Start building a pipeline."""
        from .builder import PipelineBuilder

        return PipelineBuilder(plugins)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as plain data, every default written out: what `config.yaml` holds, and what
        `builder().from_config(...)` takes.
        """
        return self._config.dump()

    @cached_property
    def data(self) -> DataSource:
        """The data, loaded on first use."""
        return build(self._config.components["data"], self._registry, "data")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.data_mean.device

    def to(self, device: torch.device | str) -> "Pipeline":
        """Move the model."""
        self.model.to(device)
        return self

    def fit(
        self,
        folder: str | Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> "Pipeline":
        """Train, and keep the run in a folder.

        Arguments:
            folder: The run folder.
            resume: Go on from the newest checkpoint there.
            overwrite: Replace the run that is there.
            callbacks: What watches, beside those of the configuration.

        Raises:
            RunExistsError: The folder holds a run and neither flag is given.
            ConfigError: A run to resume has another configuration.
            TrainingError: The loss is no longer a number.
            TrainingInterrupted: A signal came; a checkpoint is written.
        """
        from ..training.trainer import Trainer

        run = RunFolder(folder)
        run.check_free(resume, overwrite)
        stored = self.config | {"provenance": provenance(self._config, self._plugins)}
        if resume:
            _check_same(run.read_config(), stored)
        self.model.data_mean.copy_(self._data_mean())
        configured = build(self._config.callbacks, self._registry, "callbacks")
        trainer = Trainer(
            self.model,
            self.loss,
            self.data,
            self.source,
            self.coupling,
            self._config.training,
            run.path,
            [MetricsLog(run), *configured, *callbacks],
            _facts(self.spec, self.normalization),
        )
        if trainer.accelerator.is_main_process:
            run.write_config(stored) if resume else run.start(stored)
        trainer.accelerator.wait_for_everyone()
        trainer.fit(resume)
        return self

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        plugins: PluginManager | None = None,
        device: torch.device | str | None = None,
        **objects: Any,
    ) -> "Pipeline":
        """The pipeline of a run, with the averaged weights of its newest checkpoint.

        Arguments:
            folder: The run folder.
            plugins: Where components are looked up; the installed plugins by default.
            device: Where the model goes; by default an accelerator if there is one.
            objects: Parts that were given as Python objects, such as `network=MyNetwork()`.

        Raises:
            CheckpointError: There is no run, no checkpoint, or a damaged one.
            ConfigError: A component is not installed; it is named with the package that provided it.
        """
        plugins = plugins or installed_plugins()
        run = RunFolder(folder)
        given = run.read_config()
        check_provenance(given, plugins, objects)
        checkpoint = latest_checkpoint(run.path)
        if checkpoint is None:
            raise CheckpointError(f"{run.path}: this run has no checkpoint yet")
        facts = checkpoint.state()
        config = read_config({k: v for k, v in given.items() if k != "provenance"} | objects, plugins)
        pipeline = cls(config, plugins, *_from_facts(checkpoint, facts))
        pipeline.load_weights(checkpoint)
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def load_weights(self, checkpoint: Checkpoint) -> None:
        """Take the averaged weights of a checkpoint."""
        try:
            self.model.load_state_dict(checkpoint.tensors("ema"))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{checkpoint.folder}: its weights do not fit the network: {reason}") from error
        self.model.eval()

    @torch.no_grad()
    def sample(
        self, n: int, y: Labels | None = None, *, seed: int = 0, cost: Cost | None = None, **sampling: Any
    ) -> Tensor:
        """Draw samples, in the units of the data.

        Sample i depends on the seed and on i alone: not on n, nor on the batch size.

        Arguments:
            n: How many.
            y: One label for all, or one for each; by default the classes in turn, for conditional models.
            seed: The seed.
            cost: Has evaluations and rejected steps added to it.
            sampling: Settings of the section `sampling` to change, such as `integrator="euler"` or `steps=10`.

        Returns:
            Shape (n, *event), on the CPU.

        Raises:
            ConfigError: The settings do not make sense, or do not fit the model.
        """
        with suitable_threads(self.model):
            batches = self._states(n, self.labels(n, y), seed, sampling, False, cost)
            parts = [list(states)[-1] for states in batches]
        return torch.cat(parts) if parts else torch.empty(0, *self.spec.event_shape)

    @torch.no_grad()
    def trajectory(self, n: int, y: Labels | None = None, *, seed: int = 0, **sampling: Any) -> Tensor:
        """Like `sample`, with the states at all times of the grid: shape (steps + 1, n, *event)."""
        with suitable_threads(self.model):
            states = self._states(n, self.labels(n, y), seed, sampling, True)
            return torch.cat([torch.stack(list(batch)) for batch in states], dim=1)

    def log_prob(self, x: Tensor, y: Labels | None = None, **sampling: Any) -> Tensor:
        """Log density of the model's ODE at x, nats in the units of the data, shape (batch,).

        The divergence is exact, which costs one backward pass per dimension.

        Raises:
            UnsupportedError: The integrator solves SDEs; pass `integrator="heun"`, say.
        """
        sampler = self._changed(sampling)
        self.model.eval()
        normalized = self.normalization.normalize(x.to(self.device))
        labels = self.labels(len(x), y)
        with suitable_threads(self.model):
            value = log_prob(
                self.model,
                normalized,
                labels if labels is None else labels.to(self.device),
                source=self.source,
                integrator=sampler.integrator,
                times=sampler.grid(self.path),
                path=self.path,
            )
        return value.cpu() + self.normalization.log_det(self.spec.event_shape)

    def evaluate(self, *, seed: int = 0, **sampling: Any) -> list[Evaluation]:
        """Measure samples against the data with the metrics of the section `evaluation`."""

        def draw(n: int, seed: int) -> Batch:
            return Batch(self.sample(n, seed=seed, **sampling), self.labels(n))

        settings = self._config.evaluation
        return evaluate(draw, self.data, self.metrics, settings["samples"], settings["repeats"], seed)

    def labels(self, n: int, y: Labels | None = None) -> Tensor | None:
        """The labels of n samples: those asked for, or the classes in turn."""
        classes = self.spec.num_classes
        if classes is None:
            if y is not None:
                raise UnsupportedError("labels were asked for, but the data of this model have none")
            return None
        if y is None:
            return torch.arange(n) % classes
        labels = torch.as_tensor(y, dtype=torch.int64)
        labels = labels.expand(n) if labels.ndim == 0 else labels
        if labels.shape != (n,):
            raise UnsupportedError(f"{n} samples need {n} labels or one; got {tuple(labels.shape)}")
        if bool(((labels < -1) | (labels >= classes)).any()):
            raise UnsupportedError(f"labels go from 0 to {classes - 1} (-1: none); got {labels.unique().tolist()}")
        return labels

    def _build(self, kind: str, gathered: Gathered, **injected: Any) -> Any:
        """One part, its random weights drawn from the seed of the configuration; None if it was refused."""
        made: dict[str, Any] = {}
        with gathered.within(kind), torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self._config.training.seed, 0))
            made[kind] = build(self._config.components[kind], self._registry, kind, **injected)
        return made.get(kind)

    def _states(
        self,
        n: int,
        y: Tensor | None,
        seed: int,
        sampling: Mapping[str, Any],
        every: bool,
        cost: Cost | None = None,
    ) -> Iterator[Iterator[Tensor]]:
        """For every batch, its states in the units of the data: all of them, or the last."""
        if n < 0:
            raise ConfigError(f"the number of samples should be at least 0; got {n}")
        sampler, size = self._changed(sampling), self._batch_size(sampling)
        self.model.eval()
        for start in range(0, n, size):
            count = min(size, n - start)
            generator = BlockGenerator(seed, start, count, self.device)
            x0 = generator.draw(lambda k, g: self.source.sample(k, self.spec.event_shape, g, self.device))
            labels = select_condition(y, slice(start, start + count))
            labels = labels.to(self.device) if isinstance(labels, Tensor) else None
            arguments = (self.model, self.path, x0, labels, generator)
            states = sampler.trajectory(*arguments) if every else iter([sampler.sample(*arguments, cost)])
            yield (self.normalization.denormalize(state).cpu() for state in states)

    def _batch_size(self, sampling: Mapping[str, Any]) -> int:
        size = sampling.get("batch_size", self._config.sampling["batch_size"])
        return math.ceil(size / BLOCK) * BLOCK

    def _changed(self, sampling: Mapping[str, Any]) -> Sampler:
        if not sampling:
            return self.sampler
        config = self._config.with_sampling(sampling, self._registry)
        sampler = self._sampler(config)
        if problems := sampler.problems(self.model, self.path):
            raise ConfigError("; ".join(problems))
        return sampler

    def _sampler(self, config: Config) -> Sampler:
        given = config.sampling
        built = {
            name: build(given[name], self._registry, f"sampling.{name}")
            for name in ("integrator", "grid", "diffusion", "guidance")
        }
        return Sampler(built["integrator"], built["grid"], given["steps"], built["diffusion"], built["guidance"])

    def _data_mean(self) -> Tensor:
        """E[z] in the model's units, from up to 65,536 draws."""
        draws = self.data.draw(2**16, torch.Generator().manual_seed(0)).z
        return self.normalization.normalize(draws).mean(0)


def _facts(spec: DataSpec, normalization: Normalization) -> dict[str, Any]:
    """What must be known of the data to build the model again without them."""
    return {
        "data": {
            "event_shape": list(spec.event_shape),
            "num_classes": spec.num_classes,
            "class_names": list(spec.class_names),
            "image_range": spec.image_range and list(spec.image_range),
            "shift": normalization.shift.tolist(),
            "scale": normalization.scale.tolist(),
        }
    }


def _from_facts(checkpoint: Checkpoint, facts: Mapping[str, Any]) -> tuple[DataSpec, Normalization]:
    try:
        data = facts["data"]
        image_range = data["image_range"]
        spec = DataSpec(
            tuple(data["event_shape"]),
            data["num_classes"],
            tuple(data["class_names"]),
            image_range and (image_range[0], image_range[1]),
        )
        return spec, Normalization(torch.tensor(data["shift"]), torch.tensor(data["scale"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.folder}/state.json: damaged: {error!r}") from None


_MAY_CHANGE = {"steps", "log_every", "checkpoint_every", "keep_checkpoints"}


def _check_same(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to resume a run under a configuration that would have trained something else."""
    problems = []
    for section in ("data", "source", "coupling", "path", "network", "head", "loss", "training"):
        before, now = stored.get(section), given.get(section)
        if section == "training" and isinstance(before, Mapping) and isinstance(now, Mapping):
            before = {key: value for key, value in before.items() if key not in _MAY_CHANGE}
            now = {key: value for key, value in now.items() if key not in _MAY_CHANGE}
        if before != now:
            problems.append(f"{section}: the run was started with {before}, and this is {now}")
    if problems:
        raise ConfigError("a run cannot go on under another configuration:\n" + "\n".join(problems))
