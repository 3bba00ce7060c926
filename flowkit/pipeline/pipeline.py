"""The pipeline: data, path, model and sampler that fit together; trained, sampled, saved and loaded as one."""

import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..batch import Batch
from ..conditions import Condition
from ..config.choice import build
from ..config.config import Config, read_config
from ..config.files import merge
from ..divergence import Divergence
from ..errors import CheckpointError, ConfigError, Problem
from ..evaluation import Evaluation, evaluate
from ..interfaces.callback import Callback
from ..interfaces.data import DataSource, DataSpec, Normalization
from ..likelihood import LogProb
from ..model import Model
from ..plugins import CheckpointLoaded, ConfigurationBuilt, SamplingEnded, SamplingStarted
from ..plugins.lifecycle import listener, tell
from ..plugins.manager import PluginManager, installed_plugins
from ..processes import launched
from ..sampling import Cost
from ..training.checkpoint import Checkpoint
from .arguments import Labels, check_callbacks, read_labels, room_for, whole_number
from .backwards import density_of, noise_of
from .call import SamplingCall
from .checks import check_alike, check_parts
from .classes import in_classes_of
from .compiled import CompiledModel, compiled
from .draws import Draws, NotFinite
from .facts import data_mean, from_facts
from .fitting import Fitting
from .loading import read_newest, read_step
from .memory import FittingBatches
from .parts import build_network, build_parts
from .provenance import check_provenance, identity_of, qualified, without_lost_callbacks
from .resume import files_of, name_of
from .run import RunFolder
from .stream import digest, draw_to

if TYPE_CHECKING:
    from ..report import Report
    from .builder import PipelineBuilder

__all__ = ["Pipeline"]


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
        self._config, self._plugins, self._known = config, plugins or installed_plugins(), spec
        self._registry = self._plugins.registry

        def describe_data() -> tuple[DataSpec, Normalization]:
            return (spec, normalization) if spec and normalization else (self.data.spec, self.data.normalization)

        parts = build_parts(config, self._registry, describe_data, lambda: self.data)
        self.spec, self.normalization, self.model = parts.spec, parts.normalization, parts.model
        self.source, self.coupling, self.path, self.loss = parts.source, parts.coupling, parts.path, parts.loss
        self.sampler, self.metrics = parts.sampler, parts.metrics
        self._trained = False
        self._step: int | None = None
        self._unlearnt = {name: value.clone() for name, value in self.loss.state().items()}
        self._compiled: CompiledModel | None = None
        check_parts(self, config, self._registry)
        if built := listener(self._plugins, ConfigurationBuilt):
            built(ConfigurationBuilt(config=self.config, pipeline=self))

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
        """The data, loaded on first use.

        Raises:
            ConfigError: They are other than those that the model has learned.
        """
        data: DataSource = build(self._config.components["data"], self._registry, "data")
        if self._known is not None:
            data = in_classes_of(self._known, data)
            check_alike(self._known, data.spec)
        return data

    @property
    def step(self) -> int | None:
        """After how many steps its weights were saved or trained; None before."""
        return self._step

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

        A run begins with the weights that the seed gives, or with those of the run `training.start_from`, whatever this
        pipeline has been trained or loaded with.

        Arguments:
            folder: The run folder.
            resume: Go on from the newest checkpoint there.
            overwrite: Replace the run that is there.
            callbacks: What watches, beside those of the configuration.

        Raises:
            RunExistsError: The folder holds a run and neither flag is given.
            ConfigError: A run to resume has another configuration; `callbacks` are none.
            TrainingError: The loss is no longer a number, or a step does not fit in memory.
            TrainingInterrupted: A signal came; a checkpoint is written.
        """
        check_callbacks(callbacks)
        fitting = Fitting(self, self._config, self._plugins, folder, resume, overwrite)
        if not fitting.goes_on:
            self._begin_anew()
        self._trained, self._step = True, None
        fitting.train(callbacks, self._note_step)
        return self

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        plugins: PluginManager | None = None,
        device: torch.device | str | None = None,
        step: int | None = None,
        averaged: bool = True,
        **objects: Any,
    ) -> "Pipeline":
        """The pipeline of a run, with the averaged weights of its newest checkpoint; a damaged one is passed over with
        a warning.

        Arguments:
            folder: The run folder.
            plugins: Where components are looked up; the installed plugins by default.
            device: Where the model goes; by default an accelerator if there is one.
            step: Of which step the checkpoint is; by default the newest that is sound.
            averaged: Whether the weights are the averages (EMA), or those in training.
            objects: Parts that were given as Python objects, such as `network=MyNetwork()` or
                `sampling={"guidance": MyGuidance()}`, and settings to change, such as `data={"path": "elsewhere.npy"}`;
                what is not named stays as it was.

        Raises:
            CheckpointError: There is no run, no checkpoint, or a damaged one.
            ConfigError: A component is not installed; it is named with the package that provided it.
        """
        plugins = plugins or installed_plugins()
        run = RunFolder(folder)
        given = without_lost_callbacks(run.read_config(), plugins)
        check_provenance(given, plugins, {key: one for key, one in objects.items() if not isinstance(one, Mapping)})
        config = read_config(merge(qualified(given, plugins), objects), plugins, may_be_absent=("data", "callbacks"))

        def read(checkpoint: Checkpoint) -> "Pipeline":
            pipeline = cls(config, plugins, *from_facts(checkpoint))
            pipeline.load_weights(checkpoint, averaged)
            return pipeline

        if step is None:
            checkpoint, pipeline = read_newest(run, identity_of(given), read)
        else:
            checkpoint = read_step(run, identity_of(given), step)
            pipeline = read(checkpoint)
        pipeline._trained, pipeline._step = True, checkpoint.step
        pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        tell(
            plugins,
            CheckpointLoaded(
                checkpoint=checkpoint.folder,
                folder=run.path,
                step=checkpoint.step,
                model=pipeline.model,
                resumes_training=False,
            ),
        )
        return pipeline

    def load_weights(self, checkpoint: Checkpoint, averaged: bool = True) -> None:
        """Take the averaged weights of a checkpoint, or those in training."""
        checkpoint.load_into(self.model, checkpoint.tensors("ema" if averaged else "model"))
        self.model.eval()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        y: Labels | None = None,
        *,
        seed: int = 0,
        x0: Tensor | None = None,
        cost: Cost | None = None,
        **sampling: Any,
    ) -> Tensor:
        """Draw samples, in the units of the data.

        Sample i depends on the seed and on i alone: not on n, nor on the batch size. (To rounding: for another number
        of samples PyTorch may choose another way to add up.) A batch that does not fit in memory is halved, and a
        warning says what fits.

        Arguments:
            n: How many.
            y: One label for all, or one for each: a class by its name, or by its index in `spec.class_names` (whole
                numbers are indices whatever the names; -1: none). By default the classes in turn, if there are any.
            seed: The seed.
            x0: Draws of p_init to start from, shape (n, *event), such as `encode` gives, in the units of the source's
                own data where it has some; by default those of the seed.
            cost: Has evaluations and rejected steps added to it.
            sampling: Settings of the section `sampling` to change, such as `integrator="euler"` or `steps=10`.

        Returns:
            Shape (n, *event), on the CPU.

        Raises:
            ConfigError: The settings do not make sense, or do not fit the model.
        """
        n, seed = whole_number("the number of samples", n), whole_number("the seed", seed)
        call, shape = self._call(sampling, cost), (n, *self.spec.event_shape)
        draws = self._draws(call, n, y, seed, cost)
        if x0 is not None:
            x0 = torch.as_tensor(x0)
            if x0.shape != shape:
                raise ConfigError(f"x0 should have shape {shape}; got {tuple(x0.shape)}")
            draws = replace(draws, x0=self.source.normalization.normalize(x0))
        samples = room_for(n, shape, self.model.dtype)
        tell(self._plugins, SamplingStarted(pipeline=self, n=n, y=draws.y, seed=seed, settings=sampling))
        found = NotFinite()
        with call.evaluating():
            for start, x in FittingBatches(call.batch_size).over(range(n), draws.batch):
                samples[start : start + len(x)] = found.look(x)
        found.warn()
        tell(self._plugins, SamplingEnded(pipeline=self, samples=samples, y=draws.y, seed=seed, settings=sampling))
        return samples

    @torch.no_grad()
    def sample_to(
        self,
        path: str | Path,
        n: int,
        y: Labels | None = None,
        *,
        seed: int = 0,
        cost: Cost | None = None,
        **sampling: Any,
    ) -> None:
        """Draw the samples that `sample` draws into a file, as many as the disk has room for.

        Every batch is on the disk, in a folder beside the file, as soon as it is drawn. Called again after a crash with
        the same arguments, it goes on where it stopped. Processes that were launched together share the batches.

        Arguments:
            path: Where to: `.npy`, `.npz`, `.safetensors`, `.csv`, or a folder of `.png` for images. Labels are written
                as the data call them (see `flowkit.export.write_samples`).
            n: How many.
            y: One label for all, or one for each: a class by its name, or by its index in `spec.class_names` (whole
                numbers are indices whatever the names; -1: none). By default the classes in turn, if there are any.
            seed: The seed.
            cost: Has what this call and this process did added to it.
            sampling: Settings of the section `sampling` to change.

        Raises:
            ConfigError: The settings or the file do not make sense, or do not fit the model.
        """
        n, seed = whole_number("the number of samples", n), whole_number("the seed", seed)
        call, file = self._call(sampling, cost), Path(path)
        for where, data in files_of(self._config, "data", "source").items():
            if data.expanduser().resolve() == file.expanduser().resolve():
                raise ConfigError(f"{file}: holds the data of this model ({where}): choose another file")
        draws = self._draws(call, n, y, seed, cost)
        facts = self._facts_of(call) | {"n": n, "seed": seed, "labels": digest(draws.y)}
        tell(self._plugins, SamplingStarted(pipeline=self, n=n, y=draws.y, seed=seed, settings=sampling))
        with call.evaluating():
            draw_to(file, n, call.batch_size, draws, self.spec, facts)
        tell(self._plugins, SamplingEnded(pipeline=self, file=file, y=draws.y, seed=seed, settings=sampling))

    @torch.no_grad()
    def trajectory(self, n: int, y: Labels | None = None, *, seed: int = 0, **sampling: Any) -> Tensor:
        """Like `sample`, with the states at all `times()` of the grid: shape (steps + 1, n, *event)."""
        n, seed = whole_number("the number of samples", n), whole_number("the seed", seed)
        call = self._call(sampling, keeps_states=True)
        draws = self._draws(call, n, y, seed, None)
        _, path = call.sampler.rescheduled(self.model, self.path)
        trajectory = room_for(n, (len(call.sampler.grid(path)), n, *self.spec.event_shape), self.model.dtype)
        tell(self._plugins, SamplingStarted(pipeline=self, n=n, y=draws.y, seed=seed, settings=sampling))

        def keep(start: int, count: int) -> None:
            for i, state in enumerate(draws.states(start, count)):
                trajectory[i, start : start + count] = state

        with call.evaluating():
            deque(FittingBatches(call.batch_size).over(range(n), keep), maxlen=0)
        samples = trajectory[-1]
        tell(self._plugins, SamplingEnded(pipeline=self, samples=samples, y=draws.y, seed=seed, settings=sampling))
        return trajectory

    def times(self, **sampling: Any) -> list[float]:
        """The times of the states that `trajectory` gives, those of a grid that looks at the model included.

        Arguments:
            sampling: Settings of the section `sampling` to change, such as `steps=10`.

        Raises:
            ConfigError: The settings do not make sense, or do not fit the model.
        """
        sampler = self._call(sampling, keeps_states=True).sampler
        _, path = sampler.rescheduled(self.model, self.path)
        return sampler.grid(path)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Labels | None = None, *, cost: Cost | None = None, **sampling: Any) -> Tensor:
        """The noise that the model's ODE carries to x: draws of p_init, of shape (batch, *event), on the CPU, in the
        units of the source's own data where it has some.

        The grid of sampling is gone through backwards, and where it begins x is taken as the state at its last time.

        Arguments:
            x: Data, shape (batch, *event), in their units.
            y: One label for all, or one for each, as for `sample`; a conditional model must be given some.
            cost: Has evaluations and rejected steps added to it.
            sampling: Settings of the section `sampling` to change, such as `integrator="rk4"` or `steps=100`.

        Raises:
            UnsupportedError: The integrator solves SDEs, labels are missing, or the path adds noise of its own to x0.
        """
        return noise_of(self._call(sampling, cost), x, y, cost)

    def log_prob(
        self,
        x: Tensor,
        y: Labels | None = None,
        *,
        divergence: Divergence | None = None,
        seed: int = 0,
        **sampling: Any,
    ) -> Tensor:
        """Log density of the samples of the model's ODE at x, nats in the units of the data, shape (batch,).

        With guidance it is that of guided samples.

        Arguments:
            x: Where, shape (batch, *event), in the units of the data.
            y: One label for all, or one for each, as for `sample`; a conditional model must be given some.
            divergence: How the divergence is found, such as `fk.Hutchinson(8)`; by default exactly, which costs one
                backward pass per dimension.
            seed: Of the noise of an estimated divergence.
            sampling: Settings of the section `sampling` to change, such as `integrator="rk4"` or `steps=100`.

        Raises:
            UnsupportedError: The integrator solves SDEs (pass `integrator="heun"`, say), or labels are missing.
        """
        return self.estimate_log_prob(x, y, divergence=divergence, seed=seed, **sampling).value

    def estimate_log_prob(
        self,
        x: Tensor,
        y: Labels | None = None,
        *,
        divergence: Divergence | None = None,
        seed: int = 0,
        **sampling: Any,
    ) -> LogProb:
        """Like `log_prob`, with the standard error of an estimated divergence."""
        return density_of(self._call(sampling), x, y, divergence, seed)

    def evaluate(self, *, seed: int = 0, **sampling: Any) -> list[Evaluation]:
        """Measure samples against the data with the metrics of the section `evaluation`."""

        def draw(n: int, seed: int, y: Condition) -> Batch:
            labels = y if isinstance(y, Tensor) else None
            return Batch(self.sample(n, labels, seed=seed, **sampling), labels)

        settings = self._config.evaluation
        return evaluate(draw, self.data, self.metrics, settings["samples"], settings["repeats"], seed)

    def report(self, folder: str | Path) -> "Report":
        """Draw samples and measure them, and put all that a run folder holds on one page there, `report.html`.

        Arguments:
            folder: The run folder.
        """
        from ..report import report

        return report(self, folder, self._plugins)

    def labels(self, n: int, y: Labels | None = None) -> Tensor | None:
        """The labels of n samples: those asked for, or the classes in turn."""
        return read_labels(n, y, self.spec)

    def sampled_model(self, settings: Mapping[str, Any] | None = None) -> Model:
        """What samples are drawn from: the model, or the twin with a compiled network that later calls draw from too.

        Arguments:
            settings: All of the section `sampling`; by default those of the configuration.
        """
        if not (settings or self._config.sampling)["compile"]:
            return self.model
        self._compiled = compiled(self.model, self._compiled)
        return self._compiled

    def _take_weights_of(self, folder: Path) -> None:
        try:
            run = RunFolder(folder)
            other = run.read_config()
            theirs, ours = (name_of(config.get("head")) for config in (other, self.config))
            if theirs != ours:
                raise ConfigError(f"{folder}: its network predicts for the head {theirs!r}, and here it is {ours!r}")
            read_newest(run, identity_of(other), self.load_weights)
        except (CheckpointError, ConfigError) as error:
            raise ConfigError([Problem("training.start_from", str(error))]) from error

    def _call(self, sampling: Mapping[str, Any], cost: Cost | None = None, keeps_states: bool = False) -> SamplingCall:
        call = SamplingCall(self, self._config, self._registry, sampling, cost)
        if "steps" in sampling and not keeps_states:  # states are kept at the times that the steps give
            call.warn_of_steps()
        return call

    def _draws(self, call: SamplingCall, n: int, y: Labels | None, seed: int, cost: Cost | None) -> Draws:
        labels = self.labels(n, y)
        return Draws(call.sampler, call.model, self.path, self.source, self.normalization, labels, seed, cost)

    def _facts_of(self, call: SamplingCall) -> dict[str, Any]:
        """What tells samples from those of other models or settings."""
        settings = call.plain_settings
        del settings["batch_size"]  # which changes no more of a sample than its rounding
        facts: dict[str, Any] = {
            "weights": digest(*self.model.state_dict().values()),
            "units": digest(self.normalization.shift, self.normalization.scale),
            "parts": {kind: self.config[kind] for kind in ("source", "path", "head")},
            "sampling": settings,
        }
        if not call.can_be_told_again:
            processes = launched()
            processes.meet()
            (facts["call"],) = processes.total(secrets.randbits(48) if processes.is_main else 0)
        return facts

    def _note_step(self, step: int) -> None:
        self._step = step

    def _begin_anew(self) -> None:
        """Start training from the weights that the seed gives, or those of another run, also where this pipeline has
        trained before.
        """
        other = self._config.training.start_from
        if self._trained:
            if other is None and self._config.components["network"].instance is not None:
                raise ConfigError(
                    "network: this object has been trained before, and a run starts from fresh weights: build another "
                    "pipeline with a new one, or resume"
                )
            if other is None:
                network = build_network(self._config, self._registry, self.spec, self.model.head.outputs)
                self.model.network.load_state_dict(network.state_dict())
            self.loss.restore(self._unlearnt)
        if other is not None:
            self._take_weights_of(other)
        self.model.data_mean.copy_(data_mean(self.data, self.normalization))
