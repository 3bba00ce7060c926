"""Where the time of a training step goes."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..config.sections import TrainingSettings
from ..errors import ConfigError, TrainingInterrupted
from ..processes import launched
from .profile import Profile, check_count, new_profiler, read_profile, write_profile
from .ranges import Marked, Marker

if TYPE_CHECKING:
    from ..pipeline.pipeline import Pipeline
    from ..training.pairs import Pair
    from ..training.trainer import Trainer

__all__ = ["profile"]

DATA, SOURCE, COUPLING, LOSS, NETWORK = "data", "source", "coupling", "path and loss", "network"
BACKWARD, UPDATE, AVERAGE = "backward", "clip and optimizer", "average (EMA)"
PARTS = (DATA, SOURCE, COUPLING, LOSS, NETWORK, BACKWARD, UPDATE, AVERAGE)

_UNWATCHED = 10
"""Steps before anything is timed: memory is allocated, and kernels are chosen."""
_WARM_UP = 3
"""Steps in which the profiler gets ready."""


def profile(pipeline: "Pipeline", steps: int = 50, folder: str | Path | None = None) -> Profile:
    """Train for some steps, and see where their time goes. Afterwards the pipeline is as it was.

    As many steps are timed by the clock alone before and after those under `torch.profiler`, which tells how much it
    costs. Callbacks and checkpoints are left out, and steps are as they are without `training.compile`.

    Arguments:
        pipeline: What would be trained.
        steps: How many are profiled.
        folder: Where `trace.json` and `profile.png` go; nothing is written by default.

    Raises:
        ConfigError: Several processes were launched.

    Examples:
        >>> print(profile(pipeline, steps=50, folder="profiles/moons"))
    """
    from ..training.trainer import Trainer

    check_count("steps", steps)
    if launched().world > 1:
        raise ConfigError("profile one process: its ranges say nothing of the others")
    settings = TrainingSettings(**pipeline.config["training"])
    compiles = f" without training.compile={str(settings.compile).lower()}" if settings.compile else ""
    enough = max(settings.steps, _UNWATCHED + 3 * steps + _WARM_UP + 1)
    settings = settings.model_copy(update={"steps": enough, "checkpoint_every": enough, "compile": False})
    with _as_it_was(pipeline), tempfile.TemporaryDirectory() as unused:
        trainer = Trainer(
            pipeline.model, pipeline.loss, pipeline.data, pipeline.source, pipeline.coupling, settings, Path(unused)
        )
        watched = _WatchedPairs(trainer, steps)
        try:
            trainer.fit()
        except _Done:
            pass
        except TrainingInterrupted as error:
            raise TrainingInterrupted("stopped before the profile was complete", error.exit_code - 128) from None
        finally:
            watched.close()
        device = trainer.accelerator.device
        found = read_profile(
            watched.profiler,
            f"a training step{compiles}",
            PARTS,
            watched.plain_seconds(),
            device,
            threads=watched.threads,
        )
    if folder is not None:
        write_profile(found, watched.profiler, Path(folder))
    return found


class _Done(Exception):
    """Enough steps were seen."""


class _WatchedPairs(Iterator["Pair"]):
    """The pairs of a trainer. They are asked for where a step begins: the place to start and to stop watching.

    Arguments:
        trainer: Has its pairs replaced by these.
        steps: How many steps are timed, then profiled, then timed.
    """

    def __init__(self, trainer: "Trainer", steps: int) -> None:
        self.trainer, self.steps, self.pairs = trainer, steps, trainer.pairs
        self.marker = Marker(trainer.accelerator.device)
        self.profiler = new_profiler(trainer.accelerator.device, steps, _WARM_UP)
        self.threads = 1
        self._begun = 0
        self._times: tuple[list[float], list[float]] = ([], [])  # before and after what is profiled
        self._originals: list[tuple[Any, dict[str, Any]]] = []  # what was replaced, by whose it is
        self._handles: list[Any] = []
        trainer.pairs = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pairs, name)

    def __enter__(self) -> "_WatchedPairs":
        self.pairs.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.pairs.__exit__(*error)

    def __next__(self) -> "Pair":
        step, self._begun = self._begun - _UNWATCHED, self._begun + 1
        begin, end = self.steps, 2 * self.steps + _WARM_UP
        before, after = self._times
        if 0 <= step <= begin:
            self._note_time(before, is_end=step in (0, begin))
        if step == begin:
            self._mark()
            self.profiler.start()
        elif begin < step <= end:
            self.marker.wait()
            self.profiler.step()
        if step == end:
            self.close()
        if step >= end:
            self._note_time(after, is_end=step in (end, end + self.steps))
        if step == end + self.steps:
            raise _Done
        if begin <= step < end:
            # Pairs that a thread prepares are only waited for here.
            with self.marker.range(COUPLING if self.pairs.are_prepared_ahead else DATA):
                return next(self.pairs)
        return next(self.pairs)

    def plain_seconds(self) -> list[float]:
        """What the steps took that only the clock has seen."""
        if self.trainer.accelerator.device.type == "cpu":
            return [end - start for times in self._times for start, end in pairwise(times)]
        return [(times[-1] - times[0]) / self.steps for times in self._times]  # in between nobody waited for the device

    def close(self) -> None:
        """Stop watching, and take the marks off."""
        if self._originals:
            self.profiler.stop()
        for handle in self._handles:
            handle.remove()
        for owner, originals in self._originals:
            vars(owner).update(originals)
        self._handles, self._originals = [], []

    def _note_time(self, times: list[float], is_end: bool) -> None:
        if is_end:
            self.marker.wait()
        times.append(time.perf_counter())

    def _mark(self) -> None:
        """Put a range around each thing that a step calls."""
        trainer, pairs, marker = self.trainer, self.pairs, self.marker
        of_gradient = {
            "loss": Marked(trainer.gradient.loss, marker, LOSS),
            "backward": Marked(trainer.gradient.backward, marker, BACKWARD),
        }
        of_trainer = {
            "update": Marked(trainer.update, marker, UPDATE),
            "ema": Marked(trainer.ema, marker, AVERAGE, "update"),
        }
        of_pairs = {
            "source": Marked(pairs.source, marker, SOURCE, "sample"),
            "coupling": Marked(pairs.coupling, marker, COUPLING, "pair"),
        }
        self._replace(trainer.gradient, of_gradient)
        self._replace(trainer, of_trainer)
        if not pairs.are_prepared_ahead:  # ranges of another thread would lie across those of the step
            self._replace(pairs, of_pairs)
        self.threads = torch.get_num_threads()
        self._handles = _mark_module(trainer.model.network, marker, NETWORK)

    def _replace(self, owner: Any, replaced: Mapping[str, Marked]) -> None:
        self._originals.append((owner, {name: getattr(owner, name) for name in replaced}))
        vars(owner).update(replaced)


def _mark_module(module: torch.nn.Module, marker: Marker, part: str) -> list[Any]:
    """Put a range around every forward pass of a module, which keeps its type and its parameters."""
    open_ranges: list[Any] = []

    def enter(*_: Any) -> None:
        open_ranges.append(marker.range(part))
        open_ranges[-1].__enter__()

    def leave(*_: Any) -> None:
        open_ranges.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


@contextmanager
def _as_it_was(pipeline: "Pipeline") -> Iterator[None]:
    """Weights, mode and device of the model, and what the loss has learnt, come back."""
    model, device = pipeline.model, pipeline.device
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    learnt = {name: value.clone() for name, value in pipeline.loss.state().items()}
    training = model.training
    try:
        yield
    finally:
        model.load_state_dict(weights)
        model.to(device).train(training)
        model.zero_grad()
        pipeline.loss.restore(learnt)
