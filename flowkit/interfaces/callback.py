"""Watches a training run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..model import Model
    from ..training.choice import StepChoice

__all__ = ["Callback", "TrainingState"]


@dataclass
class TrainingState:
    """What a callback may look at, and a way to end training. New fields may come; none goes without a deprecation.

    Arguments:
        model: The model in training.
        folder: The run folder.
        step: Steps done.
        steps: Steps to do in all.
        losses: The losses of the steps since the last `logged`, oldest first.
        steps_per_second: The pace since the last `logged`.
        learning_rate: The current one.
        step_choice: Whether steps are compiled, and why, once `training.compile: auto` has decided.
        stopped_because: What `stop` was called with.
        evaluations: What the metrics saw last, if they look amid training.
        error: When training has ended: what ended it before its time, `TrainingInterrupted` among others.
    """

    model: "Model"
    folder: Path
    step: int
    steps: int
    losses: list[float]
    steps_per_second: float = 0.0
    learning_rate: float = 0.0
    step_choice: "StepChoice | None" = None
    stopped_because: str | None = None
    evaluations: "Sequence[Evaluation]" = ()
    error: BaseException | None = None

    def stop(self, reason: str) -> None:
        """End training as after its last step, with a checkpoint: after the step at hand, or with several processes
        within some seconds.

        Arguments:
            reason: Why, in a few words, for the log and the terminal.
        """
        self.stopped_because = str(reason)


class Callback:
    """Methods that training calls on the main process; override what you need."""

    def training_started(self, state: TrainingState) -> None:
        """Before the first step (or the first after a resumption)."""

    def logged(self, state: TrainingState) -> None:
        """Every `training.log_every` steps, when the losses have been fetched from the device."""

    def progressed(self, state: TrainingState) -> None:
        """A few times a second; `state.losses` and the pace are those of the last `logged`."""

    def checkpoint_saved(self, state: TrainingState, checkpoint: Path) -> None:
        """After a checkpoint was written, which takes some steps: `state.step` may be past it."""

    def evaluated(self, state: TrainingState) -> None:
        """Every `evaluation.every` steps, after samples were measured: `state.evaluations`. `state.model` holds the
        averaged weights here, and does not train.
        """

    def training_ended(self, state: TrainingState) -> None:
        """After the last step, and after an interruption or a failure."""
