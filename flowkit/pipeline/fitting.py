"""One training of a pipeline, in its run folder."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.choice import build
from ..config.config import Config
from ..errors import ConfigError, TrainingInterrupted
from ..interfaces.callback import Callback
from ..locks import exclusive
from ..plugins.manager import PluginManager
from ..training.checkpoint import latest_checkpoint
from .checks import check_data
from .facts import facts_of
from .memory import is_out_of_memory, step_does_not_fit
from .parts import known_of
from .provenance import identify, identity_of, provenance
from .resume import check_same, files_of, of_today
from .run import KeptConfig, MetricsLog, RunFolder

if TYPE_CHECKING:
    from ..training.trainer import Trainer
    from .pipeline import Pipeline

__all__ = ["Fitting"]


class Fitting:
    """A training that may begin or go on in a folder, and keeps its run there.

    Arguments:
        pipeline: What is trained.
        config: Its configuration.
        plugins: Where its components come from.
        folder: The run folder.
        resume: Whether it goes on with the run there.
        overwrite: Whether it replaces the run there.

    Raises:
        RunExistsError: The folder is not as that needs it.
        ConfigError: A run to resume has another configuration; the data are of no use.
    """

    def __init__(
        self,
        pipeline: "Pipeline",
        config: Config,
        plugins: PluginManager,
        folder: str | Path,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.pipeline, self.config, self.plugins = pipeline, config, plugins
        self.run, self.resume, self.overwrite = RunFolder(folder), resume, overwrite
        self.run.check_free(resume, overwrite)
        self.identity: str | None = identify(pipeline.config)
        if resume:
            before = self.run.read_config()
            moved = files_of(config, "data")  # whether they are the same is seen from the data
            check_same(of_today(before, plugins), pipeline.config, moved)
            self.identity = identity_of(before)
        other = config.training.start_from
        if other is not None and not self.goes_on and other.resolve() == self.run.path.resolve():
            raise ConfigError(
                "training.start_from: is the folder of the new run itself, which would lose it: choose another"
            )
        check_data(pipeline.data, pipeline.normalization, pipeline.path)

    @property
    def goes_on(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.resume and latest_checkpoint(self.run.path) is not None

    def train(self, callbacks: Sequence[Callback], done: Callable[[int], None]) -> None:
        """Train to the end.

        Arguments:
            callbacks: What watches, beside those of the configuration.
            done: Told how many steps the weights have behind them, where they are those of a checkpoint.

        Raises:
            TrainingError: The loss is no longer a number, or a step does not fit in memory.
            TrainingInterrupted: A signal came; a checkpoint is written.
        """
        from ..training.distributed import together

        stored = self.pipeline.config | {"provenance": provenance(self.config, self.identity)}
        trainer = self._trainer(stored, callbacks)
        with ExitStack() as held:
            with together(trainer.accelerator):
                if trainer.accelerator.is_main_process:
                    held.enter_context(exclusive(self.run.lock_file, f"training in {self.run.path}"))
                    self.run.check_free(self.resume, self.overwrite)  # again: a run may have begun here meanwhile
                    if not self.resume:
                        self.run.start(stored)
            try:
                trainer.fit(self.resume)
                done(trainer.step)
            except TrainingInterrupted:
                done(trainer.step)
                raise
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.pipeline.model.zero_grad()  # a step that was cut short leaves no part of a gradient
                raise step_does_not_fit(error, trainer.step + 1, self.config.training, self.run.path) from error

    def _trainer(self, stored: dict[str, object], callbacks: Sequence[Callback]) -> "Trainer":
        from ..training.trainer import Trainer

        pipeline, registry = self.pipeline, self.plugins.registry
        configured = build(self.config.callbacks, registry, "callbacks", **known_of(pipeline.spec))
        return Trainer(
            pipeline.model,
            pipeline.loss,
            pipeline.data,
            pipeline.source,
            pipeline.coupling,
            self.config.training,
            self.run.path,
            [KeptConfig(self.run, stored), MetricsLog(self.run), *configured, *callbacks],
            facts_of(pipeline.data, pipeline.normalization) | ({"run": self.identity} if self.identity else {}),
            stored,
            self.plugins,
            pipeline.evaluate if pipeline.metrics else None,
            self.config.evaluation["every"],
        )
