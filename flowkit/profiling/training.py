"""Where the time of a training step goes."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..batch import Batch
from ..config.sections import TrainingSettings
from ..errors import ConfigError, TrainingInterrupted
from ..processes import launched
from .profile import Profile, check_count, new_profiler, read_profile, write_profile
from .ranges import Marked, Marker

if TYPE_CHECKING:
    from ..pipeline.pipeline import Pipeline
    from ..training.trainer import Trainer

__all__ = ["profile"]

DATA, SOURCE, COUPLING, LOSS, NETWORK = "data", "source", "coupling", "path and loss", "network"
BACKWARD, CLIP, OPTIMIZER, AVERAGE = "backward", "clip", "optimizer", "average (EMA)"
PARTS = (DATA, SOURCE, COUPLING, LOSS, NETWORK, BACKWARD, CLIP, OPTIMIZER, AVERAGE)

_UNWATCHED = 10
"""Steps before anything is timed: memory is allocated, and kernels are chosen."""
_WARM_UP = 3
"""Steps in which the profiler gets ready."""


def profile(pipeline: "Pipeline", steps: int = 50, folder: str | Path | None = None) -> Profile:
    """Train for some steps, and see where their time goes. Afterwards the pipeline is as it was.

    `steps` steps are timed by the clock alone, and then as many under `torch.profiler`, which tells how much it costs.
    Callbacks and checkpoints are left out.

    Arguments:
        pipeline: What would be trained.
        steps: How many are profiled.
        folder: Where `trace.json` and `profile.png` go; nothing is written by default.

    Raises:
        ConfigError: Several processes were launched.

    Example:
        >>> print(profile(pipeline, steps=50, folder="profiles/moons"))
    """
    from ..training.trainer import Trainer

    check_count("steps", steps)
    if launched().world > 1:
        raise ConfigError("profile one process: its ranges say nothing of the others")
    settings = TrainingSettings(**pipeline.config["training"])
    enough = max(settings.steps, _UNWATCHED + 2 * steps + _WARM_UP + 1)
    settings = settings.model_copy(update={"steps": enough, "checkpoint_every": enough})
    with _as_it_was(pipeline), tempfile.TemporaryDirectory() as unused:
        trainer = Trainer(
            pipeline.model, pipeline.loss, pipeline.data, pipeline.source, pipeline.coupling, settings, Path(unused)
        )
        watched = _WatchedBatches(trainer, steps)
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
            watched.profiler, "a training step", PARTS, watched.plain_seconds(), device, threads=watched.threads
        )
    if folder is not None:
        write_profile(found, watched.profiler, Path(folder))
    return found


class _Done(Exception):
    """Enough steps were seen."""


class _WatchedBatches(Iterator[Batch]):
    """The batches of a trainer. One is asked for where a step begins: the place to start and to stop watching.

    Arguments:
        trainer: Has its batches replaced by these.
        steps: How many steps are timed, and then profiled.
    """

    def __init__(self, trainer: "Trainer", steps: int) -> None:
        self.trainer, self.steps, self.batches = trainer, steps, trainer.batches
        self.marker = Marker(trainer.accelerator.device)
        self.profiler = new_profiler(trainer.accelerator.device, steps, _WARM_UP)
        self.threads = 1
        self._begun, self._profiling = 0, False
        self._starts, self._handles = list[float](), list[Any]()
        trainer.batches = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def __next__(self) -> Batch:
        timed = self._begun - _UNWATCHED  # steps that the clock has begun to time
        profiled = timed - self.steps
        self._begun += 1
        if profiled < 0:
            if timed == 0:
                self.marker.wait()
            if timed >= 0:
                self._starts.append(time.perf_counter())
            return next(self.batches)
        if profiled == 0:
            self.marker.wait()
            self._starts.append(time.perf_counter())
            self.threads = torch.get_num_threads()
            self._mark()
            self.profiler.start()
            self._profiling = True
        else:
            self.marker.wait()
            self.profiler.step()
        if profiled == _WARM_UP + self.steps:
            raise _Done
        with self.marker.range(DATA):
            return next(self.batches)

    def plain_seconds(self) -> list[float]:
        """What the steps took that only the clock has seen."""
        if self.trainer.accelerator.device.type == "cpu":
            return [end - start for start, end in zip(self._starts, self._starts[1:], strict=False)]
        return [(self._starts[-1] - self._starts[0]) / self.steps]  # in between nobody waited for the device

    def close(self) -> None:
        """Take the marks off what outlives the trainer."""
        for handle in self._handles:
            handle.remove()
        if self._profiling:
            self.profiler.stop()

    def _mark(self) -> None:
        """Put a range around each thing that a step calls."""
        trainer, marker = self.trainer, self.marker
        replaced: dict[str, Marked] = {
            "source": Marked(trainer.source, marker, SOURCE, "sample"),
            "coupling": Marked(trainer.coupling, marker, COUPLING, "pair"),
            "loss": Marked(trainer.loss, marker, LOSS),
            "_backward": Marked(trainer._backward, marker, BACKWARD),
            "_clip": Marked(trainer._clip, marker, CLIP),
            "optimizer": Marked(trainer.optimizer, marker, OPTIMIZER, "step", "zero_grad"),
            "ema": Marked(trainer.ema, marker, AVERAGE, "update"),
        }
        vars(trainer).update(replaced)
        self._handles = _mark_module(trainer.model.network, marker, NETWORK)


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
