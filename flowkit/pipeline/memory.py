"""What to do when memory is full: smaller batches of samples; in training, a word on what to change."""

import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from ..config.sections import TrainingSettings
from ..errors import FlowkitWarning, TrainingError
from ..training.checkpoint import latest_checkpoint

__all__ = ["FittingBatches", "is_out_of_memory", "step_does_not_fit"]

Result = TypeVar("Result")


class FittingBatches:
    """Batches of a size that is halved when one does not fit in memory; a warning then says what fits.

    Arguments:
        size: Samples in a batch, at first.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def over(self, samples: range, work: Callable[[int, int], Result]) -> Iterator[tuple[int, Result]]:
        """What `work(start, count)` gives for batch after batch of these samples, each with its start.

        Raises:
            RuntimeError: That of `work`, if it is another one, or if one sample alone does not fit.
        """
        start = samples.start
        while start < samples.stop:
            count, done = self._what_fits(start, min(self.size, samples.stop - start), work)
            yield start, done
            start += count

    def _what_fits(self, start: int, most: int, work: Callable[[int, int], Result]) -> tuple[int, Result]:
        count = most
        while True:
            try:
                done = work(start, count)
                break
            except RuntimeError as error:
                if count == 1 or not is_out_of_memory(error):
                    raise
            _release()  # not amid the exception, which holds on to what the attempt has made
            self.size = count = count // 2
        if count < most:
            warnings.warn(
                f"{most} samples at once do not fit in memory, {count} do: it goes on with batches of {count}; "
                f"next time, set sampling.batch_size={count}",
                FlowkitWarning,
                stacklevel=2,
            )
        return count, done


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device is full."""
    from accelerate.utils.memory import should_reduce_batch_size  # takes a second to import, and is rarely needed

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def step_does_not_fit(error: RuntimeError, step: int, settings: TrainingSettings, run: Path) -> TrainingError:
    """What to tell when a training step fills the memory; what the step has made is let go of.

    Arguments:
        error: What was raised.
        step: The step that was not done.
        settings: Those of the training.
        run: The run folder.
    """
    traceback.clear_frames(error.__traceback__)
    reason = ". ".join(" ".join(str(error).split()).split(". ")[:2]).rstrip(".")  # the rest is the allocator's figures
    last = latest_checkpoint(run)
    kept = f"the last checkpoint, {last.folder}, can go on with more pieces" if last else "no checkpoint yet"
    return TrainingError(
        f"step {step} does not fit in memory ({reason}): go through a batch in more pieces, training.accumulate (now "
        f"{settings.accumulate}), or make it smaller, training.batch_size (now {settings.batch_size}); {kept}"
    )


def _release() -> None:
    """Give back what the device keeps for tensors that are no more."""
    from accelerate.utils import release_memory

    release_memory()
