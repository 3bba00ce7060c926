"""Tells the hooks of plugins what happens in training, in every process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..model import Model
from ..plugins import (
    CheckpointLoaded,
    CheckpointSaved,
    PluginManager,
    StepEnded,
    TrainingEnded,
    TrainingStarted,
)
from ..plugins.lifecycle import listener, tell
from .checkpoint import Checkpoint

__all__ = ["TrainingHooks"]


class TrainingHooks:
    """The hooks of one training.

    Arguments:
        plugins: Whose hooks are called.
        model: The model in training.
        folder: The run folder.
        steps: Steps to do in all.
        is_main_process: Whether this is the process that writes the run folder.
    """

    def __init__(self, plugins: PluginManager, model: Model, folder: Path, steps: int, is_main_process: bool) -> None:
        self.plugins, self.model, self.folder, self.steps = plugins, model, folder, steps
        self.is_main_process = is_main_process
        self._step_ended = listener(plugins, StepEnded)

    def started(self, step: int, config: Mapping[str, Any]) -> None:
        """Training is about to go on from `step`, under what `config.yaml` holds."""
        tell(
            self.plugins,
            TrainingStarted(
                model=self.model,
                config=config,
                folder=self.folder,
                step=step,
                steps=self.steps,
                is_main_process=self.is_main_process,
            ),
        )

    def step_ended(self, step: int, loss: Tensor, learning_rate: float) -> None:
        """A step was taken."""
        if self._step_ended is not None:
            self._step_ended(
                StepEnded(
                    model=self.model,
                    step=step,
                    steps=self.steps,
                    loss=loss,
                    learning_rate=learning_rate,
                    is_main_process=self.is_main_process,
                )
            )

    def ended(self, step: int, error: BaseException | None) -> None:
        """Training is over."""
        tell(
            self.plugins,
            TrainingEnded(
                model=self.model,
                folder=self.folder,
                step=step,
                steps=self.steps,
                error=error,
                is_main_process=self.is_main_process,
            ),
        )

    def saved(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is on the disk."""
        tell(
            self.plugins,
            CheckpointSaved(checkpoint=checkpoint.folder, folder=self.folder, step=checkpoint.step),
        )

    def loaded(self, checkpoint: Checkpoint) -> None:
        """Training goes on from a checkpoint."""
        tell(
            self.plugins,
            CheckpointLoaded(
                checkpoint=checkpoint.folder,
                folder=self.folder,
                step=checkpoint.step,
                model=self.model,
                resumes_training=True,
            ),
        )
