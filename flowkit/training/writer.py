"""Writes checkpoints beside training, which goes on after the state has been copied; a large one is not copied."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from .checkpoint import Checkpoint, save_checkpoint

__all__ = ["CheckpointWriter"]

COPIED = 2**28
"""A state in the memory of a CPU is copied up to this many bytes. The copy of a larger one would be the peak of memory;
training waits while it is written instead, a moment beside the steps of so large a network."""


class CheckpointWriter:
    """One checkpoint is written at a time, in a thread of its own.

    Arguments:
        run: The run folder.
        keep: How many checkpoints stay.
    """

    def __init__(self, run: Path, keep: int) -> None:
        self.run, self.keep = run, keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flowkit-checkpoint")
        self._writing: Future[Checkpoint] | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)  # what has been begun is finished, whatever ended training

    def start(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        begun: bool = False,
    ) -> None:
        """Begin to write a checkpoint of these tensors as they are now; the arguments are `save_checkpoint`'s."""
        values = [value for content in tensors.values() for value in content.values()]
        copied = sum(value.nbytes for value in values if value.device.type == "cpu") <= COPIED
        if copied:
            tensors = {
                name: {key: value.detach().to("cpu", copy=True) for key, value in content.items()}
                for name, content in tensors.items()
            }
        self._writing = self._thread.submit(save_checkpoint, self.run, step, tensors, state, self.keep, begun)
        if not copied:
            wait([self._writing])

    def written(self, wait: bool = False) -> Checkpoint | None:
        """The checkpoint begun last, once, when it is on the disk; None while it is not.

        Arguments:
            wait: Wait for it.

        Raises:
            CheckpointError: It could not be written.
        """
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        return writing.result()
