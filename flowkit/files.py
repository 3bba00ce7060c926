"""Files that are there whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING

from .errors import FlowkitError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["replace_file", "save_tensors", "sync"]


def replace_file(file: Path, text: str) -> None:
    """Write a text file in place of the one before, whatever stops the machine.

    Raises:
        FlowkitError: It cannot be written; the one before is untouched.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        sync(partial)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FlowkitError(f"{file}: could not be written ({error.strerror or error})") from error


def save_tensors(tensors: Mapping[str, "Tensor"], path: Path) -> None:
    """Write a safetensors file that whoever may read other new files may read: by itself it is for its owner alone."""
    from safetensors.torch import save_file  # with torch, which those who write text do without

    path.touch()
    mode = S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path)
    path.chmod(mode)


def sync(path: Path) -> None:
    """See to it that a file (or the names in a folder) is on the disk before anything relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
