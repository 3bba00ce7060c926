"""Reads files of arrays: .npy, .npz and .safetensors."""

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from flowkit import DataError

from .contents import Contents

__all__ = ["read_npy", "read_npz", "read_safetensors"]

CONVENTIONAL_KEYS = ("z", "x", "data")


def read_npy(path: Path, key: str | None, labels: str | None) -> Contents:
    """A .npy file, which holds one array. Pickled objects are refused: unpickling executes code."""
    for setting, value in (("key", key), ("labels", labels)):
        if value is not None:
            raise DataError(f"{path}: a .npy file holds one array and no {setting} {value!r}; use a .npz file")
    with path.open("rb") as file:
        return Contents(path, _unpickled(path, lambda: np.lib.format.read_array(file, allow_pickle=False)))


def read_npz(path: Path, key: str | None, labels: str | None) -> Contents:
    """A .npz file, which holds named arrays. Pickled objects are refused: unpickling executes code."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: cannot be read as a .npz file: it is no archive, or a damaged one")
    with np.load(path, allow_pickle=False) as archive:
        return _from_keys(path, archive.files, lambda name: _unpickled(path, lambda: archive[name]), key, labels)


def read_safetensors(path: Path, key: str | None, labels: str | None) -> Contents:
    """A .safetensors file, which holds named tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as archive:

        def array(name: str) -> np.ndarray[Any, Any]:
            tensor = archive.get_tensor(name)
            if tensor.is_floating_point() and tensor.itemsize < 4:  # such as bfloat16, which numpy has not
                tensor = tensor.float()
            return np.asarray(tensor)

        return _from_keys(path, archive.keys(), array, key, labels)


def _from_keys(
    path: Path,
    keys: Iterable[str],
    array: Callable[[str], np.ndarray[Any, Any]],
    key: str | None,
    labels: str | None,
) -> Contents:
    """The arrays that the settings name, or that need no name."""
    keys = sorted(keys)
    for setting, value in (("key", key), ("labels", labels)):
        if value is not None and value not in keys:
            raise DataError(f"{path}: holds no {setting} {value!r}; its keys: {', '.join(keys) or 'none'}")
    if key is None:
        others = [name for name in keys if name != labels]
        likely = others if len(others) == 1 else [name for name in CONVENTIONAL_KEYS if name in others]
        if not likely:
            raise DataError(f"{path}: set key to one of its arrays: {', '.join(others) or 'there are none'}")
        key = likely[0]
    elif key == labels:
        raise DataError(f"{path}: key and labels are both {key!r}")
    return Contents(path, array(key), None if labels is None else array(labels))


def _unpickled(path: Path, read: Callable[[], np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    try:
        return read()
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(f"{path}: holds pickled objects, which are refused; save plain numbers") from error
