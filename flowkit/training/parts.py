"""Files of tensors that are cut over the processes: each writes and reads its own rows, and none holds a whole tensor.

A file of safetensors is a header (its length in 8 bytes; for every tensor its type, shape and place), then the numbers,
tensor by tensor. The rows of a tensor lie side by side there, so processes that share a file system fill one file
together, and what they leave is what one process would have written.

References:
    https://huggingface.co/docs/safetensors, "Format"
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..errors import CheckpointError, FlowkitError
from ..files import sync
from .distributed import together

__all__ = ["own_rows", "write_parts"]

_LENGTH = 8
"""Bytes that say how long the header is, which is a multiple of as many."""

Tensors = Mapping[str, Tensor]


def own_rows(rows: int, rank: int, world: int) -> slice:
    """Which rows of a tensor a process keeps: as many as any other, but for the last that have some.

    Arguments:
        rows: How many there are.
        rank: The process.
        world: How many processes there are.
    """
    most = -(-rows // world)
    return slice(min(rank * most, rows), min((rank + 1) * most, rows))


def write_parts(folder: Path, files: Mapping[str, Tensors], accelerator: Accelerator) -> None:
    """Write files of safetensors. Every process must call it, with its parts of the same tensors.

    Arguments:
        folder: Where to; what is there goes.
        files: File name (without suffix) to what it holds. What is no DTensor is written by the first process.
        accelerator: Knows the processes.

    Raises:
        CheckpointError: This process could not write.
        TrainingError: Another one could not.
    """
    try:
        with together(accelerator), _refusing(folder):
            if accelerator.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                for name, tensors in files.items():
                    _begin(folder / f"{name}.safetensors", tensors)
        with together(accelerator), _refusing(folder):
            for name, tensors in files.items():
                _write_own(folder / f"{name}.safetensors", tensors, accelerator.is_main_process)
    except FlowkitError:
        if accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder}: could not be written ({error}); earlier checkpoints are untouched. With training.shard every "
            f"process writes there: it must be on a file system that all of them share"
        ) from error


def _begin(path: Path, tensors: Tensors) -> None:
    """Write the header, and make room for the rest."""
    header = _header(tensors)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + sum(_size(value) for value in tensors.values()))


def _write_own(path: Path, tensors: Tensors, is_main: bool) -> None:
    """Fill in the rows that this process keeps."""
    begin = len(_header(tensors))
    with path.open("r+b") as file:
        for name, place in _places(tensors).items():
            value = tensors[name]
            if isinstance(value, DTensor):
                part: Tensor = value.to_local()
                rows = own_rows(len(value), value.device_mesh.get_local_rank(), value.device_mesh.size())
                place += rows.start * (_size(value) // max(1, len(value)))
            elif is_main:
                part = value
            else:
                continue
            file.seek(begin + place)
            file.write(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    sync(path)


def _header(tensors: Tensors) -> bytes:
    entries = {
        name: {
            "dtype": _name(tensors[name].dtype),
            "shape": list(tensors[name].shape),
            "data_offsets": [place, place + _size(tensors[name])],
        }
        for name, place in _places(tensors).items()
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text


def _places(tensors: Tensors) -> dict[str, int]:
    """Where each tensor begins, behind the header: larger numbers first, so that all lie at multiples of their size."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    ends = accumulate(_size(tensors[name]) for name in names)
    return dict(zip(names, (0, *ends), strict=False))


def _size(value: Tensor) -> int:
    """In bytes."""
    return value.numel() * value.element_size()


@cache
def _name(dtype: torch.dtype) -> str:
    """What safetensors calls it."""
    file = save({"empty": torch.empty(0, dtype=dtype)})
    length = int.from_bytes(file[:_LENGTH], "little")
    name: str = json.loads(file[_LENGTH : _LENGTH + length])["empty"]["dtype"]
    return name
