"""Checkpoints: a folder of safetensors and one JSON file, written whole or not at all. Nothing unpickles.

checkpoints/step-00003000/
    model.safetensors       the weights in training
    ema.safetensors         the averaged weights, which sampling uses
    optimizer.safetensors   the optimizer's state, parameter by parameter
    random-0.safetensors    the random states of process 0, and what its loss has learned
    state.json              the step, and what must be known to build the model again
    SHA256SUMS              the checksums of all of these; `sha256sum --check SHA256SUMS` reads it too
"""

import hashlib
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError, FlowkitWarning
from ..files import save_tensors, sync

__all__ = [
    "Checkpoint",
    "checkpoint_of",
    "checkpoints_of",
    "latest_checkpoint",
    "partial_checkpoint",
    "save_checkpoint",
    "usable_checkpoint",
]

Tensors = Mapping[str, Tensor]
Rows = Callable[[str, int], slice]

_NAME = re.compile(r"step-\d+")
_SUMS = "SHA256SUMS"


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

    def load_into(self, model: nn.Module, weights: Tensors) -> None:
        """Give a model the weights that were read from here.

        Raises:
            CheckpointError: They are not those of such a model.
        """
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = _misfit(weights, model.state_dict()) or " ".join(str(error).split())
            raise CheckpointError(f"{self.folder}: its weights do not fit the network: {reason}") from error

    def tensors(self, name: str, rows: Rows | None = None) -> dict[str, Tensor]:
        """The tensors of one of its files, on the CPU.

        Arguments:
            name: The file, without suffix.
            rows: Which rows of a tensor are read, given its name and their number; by default all are.
        """
        path = self.folder / f"{name}.safetensors"
        try:
            return load_file(path) if rows is None else _load_rows(path, rows)
        except FileNotFoundError:
            raise self._unusable(path, "is missing") from None
        except (SafetensorError, OSError) as error:
            raise self._unusable(path, f"is damaged: {error}") from None

    def state(self) -> dict[str, Any]:
        """The JSON file."""
        path = self.folder / "state.json"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._unusable(path, f"cannot be read: {error}") from None
        if not isinstance(state, dict):
            raise self._unusable(path, "is damaged: it does not hold an object")
        return state

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            CheckpointError: A file is missing or is not what was written.
        """
        sums = self.folder / _SUMS
        try:
            lines = sums.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            raise self._unusable(sums, "is missing") from None
        except (OSError, ValueError) as error:
            raise self._unusable(sums, f"cannot be read: {error}") from None
        written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if "state.json" not in written:
            raise self._unusable(sums, "is damaged: it does not list state.json")
        for name, digest in written.items():
            path = self.folder / Path(name).name
            try:
                same = _digest(path) == digest
            except FileNotFoundError:
                raise self._unusable(path, "is missing") from None
            except OSError as error:
                raise self._unusable(path, f"cannot be read: {error}") from None
            if not same:
                raise self._unusable(path, "is damaged: it is not what was written")

    def check_place(self, identity: str | None) -> None:
        """Compare what it says of itself with where it is.

        Raises:
            CheckpointError: It is of another step than its name says, or of another run.
        """
        state = self.state()
        if state.get("step") != self.step:
            raise CheckpointError(f"{self.folder} is the checkpoint of step {state.get('step')} under another name")
        if identity and state.get("run") != identity:
            raise CheckpointError(f"{self.folder} is a checkpoint of another run")

    def _unusable(self, path: Path, reason: str) -> CheckpointError:
        return CheckpointError(f"{path} {reason}")


def checkpoint_of(run: Path, step: int) -> Checkpoint:
    """The checkpoint of a run after so many steps, whether it is there or not."""
    return Checkpoint(run / "checkpoints" / f"step-{step:08d}")


def checkpoints_of(run: Path) -> list[Checkpoint]:
    """All checkpoints of a run as they are named, damaged or not, oldest first."""
    return [Checkpoint(folder) for folder in _checkpoints(run / "checkpoints")]


def latest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest checkpoint of a run as it is named, whether damaged or not; None if there is none."""
    found = checkpoints_of(run)
    return found[-1] if found else None


def usable_checkpoint(run: Path, identity: str | None = None) -> Checkpoint | None:
    """The newest checkpoint of a run whose files are what was written; None if there is none at all.

    A damaged one, or one of another run, is passed over with a warning.

    Arguments:
        run: The run folder.
        identity: What its checkpoints have in `state.json` as `run`; None for a run that is older than that.

    Raises:
        CheckpointError: All that there are are damaged.
    """
    reasons = []
    for folder in reversed(_checkpoints(run / "checkpoints")):
        checkpoint = Checkpoint(folder)
        try:
            checkpoint.verify()
            checkpoint.check_place(identity)
        except CheckpointError as error:
            if not folder.exists():  # a run that trains has taken it away, and has newer ones
                return usable_checkpoint(run, identity)
            reasons.append(str(error))
            continue
        for reason in reasons:
            warnings.warn(f"{reason}; {folder.name} is used instead", FlowkitWarning, stacklevel=2)
        return checkpoint
    if reasons:
        raise CheckpointError("no checkpoint can be used:\n" + "\n".join(reasons))
    return None


def partial_checkpoint(run: Path) -> Path:
    """The folder in which a checkpoint is written before it is moved to its place."""
    return run / "checkpoints" / "partial"


def save_checkpoint(
    run: Path,
    step: int,
    tensors: Mapping[str, Tensors],
    state: Mapping[str, Any],
    keep: int,
    begun: bool = False,
) -> Checkpoint:
    """Write a checkpoint beside its place, move it there in one go, and let the oldest go.

    Arguments:
        run: The run folder.
        step: Steps done.
        tensors: File name (without suffix) to what it holds.
        state: What goes into `state.json`.
        keep: How many checkpoints stay.
        begun: Whether `partial_checkpoint` holds files already that belong to it.

    Raises:
        CheckpointError: It could not be written; those before it are untouched.
    """
    folder = checkpoint_of(run, step).folder
    partial = partial_checkpoint(run)
    try:
        if not begun:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        for name, content in tensors.items():
            save_tensors(_separate(content), partial / f"{name}.safetensors")
        (partial / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        files = sorted(partial.iterdir())
        sums = "".join(f"{_digest(path)}  {path.name}\n" for path in files)
        (partial / _SUMS).write_text(sums, encoding="ascii")
        for path in (*files, partial / _SUMS, partial):
            sync(path)
        _clear(folder)
        partial.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"{folder}: could not be written ({error}); earlier checkpoints are untouched") from error
    # Those after it were passed over when this training began, and count for nothing.
    until_now = [checkpoint for checkpoint in _checkpoints(folder.parent) if Checkpoint(checkpoint).step <= step]
    for old in until_now[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return Checkpoint(folder)


def _clear(place: Path) -> None:
    """Make way for a checkpoint; what cannot be removed is moved aside."""
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
    if place.exists():
        names = (place.with_name(f"{place.name}.damaged-{i}") for i in itertools.count(1))
        place.rename(next(name for name in names if not name.exists()))


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=lambda path: Checkpoint(path).step)


def _load_rows(path: Path, rows: Rows) -> dict[str, Tensor]:
    """Some rows of each tensor of a file; of single numbers, those."""
    loaded = {}
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            part = file.get_slice(name)
            shape = part.get_shape()
            loaded[name] = part[rows(name, shape[0])] if shape else file.get_tensor(name)
    return loaded


def _separate(tensors: Tensors) -> dict[str, Tensor]:
    """The tensors on the CPU, each with memory of its own: networks may share weights, and a file holds none twice."""
    seen: set[int] = set()
    separate = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        separate[name] = value.clone() if storage in seen else value
        seen.add(storage)
    return separate


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misfit(there: Tensors, here: Tensors) -> str:
    """The first of the weights that a checkpoint and a model do not share, and how many there are."""
    found = [
        f"{name} is missing there"
        if name not in there
        else f"{name} is not in this network"
        if name not in here
        else f"{name} has shape {tuple(there[name].shape)} there and {tuple(here[name].shape)} here"
        for name in {**here, **there}
        if name not in there or name not in here or there[name].shape != here[name].shape
    ]
    return "" if not found else found[0] + (f", and {len(found) - 1} more differ" if found[1:] else "")
