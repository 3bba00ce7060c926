"""The progress bar of training."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .interfaces.callback import Callback, TrainingState

__all__ = ["ProgressBar"]


class ProgressBar(Callback):
    """Loss, steps a second and time left, on a line of the terminal; a line now and then where there is none.

    Arguments:
        console: Where to; by default the standard output.

    Examples:
        >>> pipeline.fit("runs/moons", callbacks=[fk.ProgressBar()])
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._printed_tenth = 0
        self._said = False

    def training_started(self, state: TrainingState) -> None:
        """Start the bar."""
        if state.step:
            self.console.print(f"going on from step {state.step}")
        self._printed_tenth = 10 * state.step // state.steps
        self._said = False
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[pace]} steps/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task("", total=state.steps, completed=state.step, loss="-", pace="-")
        self._progress.start()

    def progressed(self, state: TrainingState) -> None:
        """Move the bar, and say once whether steps are compiled, where that was to be decided."""
        self._say_choice(state)
        if self._progress:
            self._progress.update(self._task, completed=state.step)

    def logged(self, state: TrainingState) -> None:
        """Show the loss and the pace."""
        self._say_choice(state)
        loss = f"{sum(state.losses) / len(state.losses):.4f}" if state.losses else "-"
        pace = f"{state.steps_per_second:.0f}" if state.steps_per_second >= 10 else f"{state.steps_per_second:.1f}"
        if self._progress:
            self._progress.update(self._task, completed=state.step, loss=loss, pace=pace)
            return
        tenth = 10 * state.step // state.steps
        if tenth > self._printed_tenth:
            self._printed_tenth = tenth
            left = (state.steps - state.step) / state.steps_per_second
            self.console.print(
                f"step {state.step}/{state.steps}  loss {loss}  {pace} steps/s  {left:.0f} s left",
                highlight=False,
            )

    def evaluated(self, state: TrainingState) -> None:
        """Print a line for every metric."""
        for one in state.evaluations:
            text = f"step {state.step}/{state.steps}  {one.metric} {one.value:.4f}, {one.ratio:.2f} times the floor"
            self.console.print(text, markup=False, highlight=False)

    def training_ended(self, state: TrainingState) -> None:
        """Take the bar down, and say why where a callback has ended training."""
        if self._progress:
            self._progress.stop()
        if state.stopped_because is not None and state.step < state.steps:
            text = f"ended after step {state.step} of {state.steps}: {state.stopped_because}"
            self.console.print(text, markup=False, highlight=False)

    def _say_choice(self, state: TrainingState) -> None:
        if state.step_choice and not self._said:
            self._said = True
            self.console.print(f"training.compile=auto chose {state.step_choice}", markup=False, highlight=False)
