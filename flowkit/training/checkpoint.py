"""Checkpoints: a folder of safetensors and one JSON file, written whole or not at all. Nothing unpickles.

checkpoints/step-00003000/
    model.safetensors       the weights in training
    ema.safetensors         the averaged weights, which sampling uses
    optimizer.safetensors   the optimizer's state, parameter by parameter
    random-0.safetensors    the random states of process 0, and what its loss has learned
    state.json              the step, and what must be known to build the model again
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError

__all__ = ["Checkpoint", "latest_checkpoint", "save_checkpoint"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Arguments:
        folder: Where it is.
    """

    folder: Path

    @property
    def step(self) -> int:
        """After how many steps it was written."""
        return int(self.folder.name.removeprefix("step-"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one of its files, on the CPU."""
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: missing, so this checkpoint cannot be used") from None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from None

    def state(self) -> dict[str, Any]:
        """The JSON file."""
        path = self.folder / "state.json"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from None
        if not isinstance(state, dict):
            raise CheckpointError(f"{path}: damaged: it does not hold an object")
        return state


def latest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest checkpoint of a run, if there is one."""
    found = sorted((run / "checkpoints").glob("step-[0-9]*"))
    complete = [folder for folder in found if (folder / "state.json").is_file()]
    return Checkpoint(complete[-1]) if complete else None


def save_checkpoint(
    run: Path, step: int, tensors: Mapping[str, Tensors], state: Mapping[str, Any], keep: int
) -> Checkpoint:
    """Write a checkpoint beside its place, move it there in one go, and let the oldest go.

    Arguments:
        run: The run folder.
        step: Steps done.
        tensors: File name (without suffix) to what it holds.
        state: What goes into `state.json`.
        keep: How many checkpoints stay.

    Raises:
        CheckpointError: It could not be written; those before it are untouched.
    """
    folder = run / "checkpoints" / f"step-{step:08d}"
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in tensors.items():
            path = partial / f"{name}.safetensors"
            save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, path)
            _sync(path)
        path = partial / "state.json"
        path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        _sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"{folder}: could not be written ({error}); earlier checkpoints are untouched") from error
    for old in sorted(folder.parent.glob("step-[0-9]*[0-9]"))[:-keep]:
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return Checkpoint(folder)


def _sync(path: Path) -> None:
    """See to it that a file is on the disk before the checkpoint is given its name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
