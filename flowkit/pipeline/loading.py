"""A checkpoint of a run that may be training meanwhile, and takes old checkpoints away."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import CheckpointError
from ..training.checkpoint import Checkpoint, checkpoint_of, checkpoints_of, usable_checkpoint
from .run import RunFolder

__all__ = ["read_newest", "read_step"]

_ATTEMPTS = 5
"""How often a checkpoint may be taken away while it is read."""

Result = TypeVar("Result")


class _TakenAway(Exception):
    """A checkpoint is no longer there."""


def read_step(run: RunFolder, identity: str | None, step: int) -> Checkpoint:
    """The checkpoint of a run after so many steps, verified.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    checkpoint = checkpoint_of(run.path, step)
    if not checkpoint.folder.is_dir():
        there = ", ".join(str(other.step) for other in checkpoints_of(run.path)) or "none"
        raise CheckpointError(f"{run.path}: there is no checkpoint of step {step}; there are: {there}")
    checkpoint.verify()
    checkpoint.check_place(identity)
    return checkpoint


def read_newest(
    run: RunFolder, identity: str | None, read: Callable[[Checkpoint], Result]
) -> tuple[Checkpoint, Result]:
    """The newest checkpoint of a run, and what `read` makes of it.

    Arguments:
        run: The run folder.
        identity: That of the run, which the checkpoint must be of.
        read: What to do with a checkpoint.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    for _ in range(_ATTEMPTS):
        checkpoint = usable_checkpoint(run.path, identity)
        if checkpoint is None:
            raise CheckpointError(f"{run.path}: this run has no checkpoint yet")
        with suppress(_TakenAway):
            return checkpoint, _read(checkpoint, read)
    raise CheckpointError(f"{run.path}: checkpoints are taken away faster than they can be read")


def _read(checkpoint: Checkpoint, read: Callable[[Checkpoint], Result]) -> Result:
    try:
        return read(checkpoint)
    except CheckpointError as error:
        if not checkpoint.folder.exists():  # a run that trains has newer ones by now
            raise _TakenAway from error
        raise
