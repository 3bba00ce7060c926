"""Samples into files, by the suffix of the file's name."""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .interfaces.data import DataSpec

    Labelled = Iterable[tuple[Tensor, Tensor | None]]
    """Batches of samples, each with its labels if there are any."""

__all__ = ["check_images", "check_place", "check_writable", "to_pixels", "write_samples"]


def write_samples(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    """Write samples to `.npy`, `.npz`, `.safetensors`, `.csv`, or `.png` files in a folder (no suffix), whole or not at
    all. Only `.npz` and `.safetensors` need all of them in memory.

    Arguments:
        path: Where to.
        n: How many samples there are, at least 1.
        batches: The samples in the units of the data, with their labels. `.npy` has no room for labels.
        spec: The shape and classes of the data.

    Raises:
        ConfigError: No such format; or a folder of images was asked for, and the samples are none.
    """
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _WRITERS[path.suffix.lower()](partial, n, batches, spec)
    except BaseException:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)
        raise
    if path.is_dir():
        path.rmdir()  # an empty one: see `check_writable`
    partial.replace(path)


def check_writable(path: Path) -> None:
    """Refuse a format that there is none of, and a place that is taken, before any work is done. Imports no torch.

    Raises:
        ConfigError: Nothing can be written there. The text names the place, which a command or a call was given.
    """
    if path.suffix.lower() not in _WRITERS:
        known = ", ".join(suffix for suffix in _WRITERS if suffix)
        raise ConfigError(f"{path}: samples go to files that end in {known}, or to a folder of .png images")
    if path.is_dir() and path.suffix:
        raise ConfigError(f"{path}: is a folder")
    if not path.suffix and path.is_file():
        raise ConfigError(f"{path}: is a file without a suffix; a folder of .png images goes elsewhere")
    if not path.suffix and path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{path}: is a folder with files in it; choose a new one, so that no others mix in")
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a place where nothing can be written, before any work is done.

    Raises:
        ConfigError: A folder on the way is a file, or is not ours to write to.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if there != path and not there.is_dir():
        raise ConfigError(f"{path}: {there} is a file, not a folder")
    folder = there if there.is_dir() else there.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder):  # rights alone do not tell: /proc says yes to root
            pass
    except OSError as error:
        raise ConfigError(f"{path}: {folder} cannot be written to ({error.strerror})") from None


def check_images(spec: "DataSpec") -> None:
    """Refuse data that are not images.

    Raises:
        ConfigError: They are not.
    """
    if spec.image_range is None or len(spec.event_shape) != 3 or spec.event_shape[0] not in (1, 3, 4):
        raise ConfigError(
            f"data of shape {spec.event_shape} are not images of 1, 3 or 4 channels: write them to .npy, .npz, "
            f".safetensors or .csv"
        )


def to_pixels(x: "Tensor", spec: "DataSpec") -> "np.ndarray":
    """Images as uint8 of shape (n, height, width, channels); values out of range are clipped.

    Raises:
        ConfigError: The data are not images of 1, 3 or 4 channels.
    """
    check_images(spec)
    assert spec.image_range is not None
    black, white = spec.image_range
    levels = ((x - black) / (white - black)).clamp(0, 1).mul(255).round().byte()
    return levels.permute(0, 2, 3, 1).numpy()


def _write_npy(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    import numpy as np

    with path.open("wb") as file:  # not through memory that is mapped: a full disk would kill the process
        for i, (z, _) in enumerate(batches):
            rows = np.ascontiguousarray(z.numpy())
            if i == 0:
                header = {"descr": rows.dtype.str, "fortran_order": False, "shape": (n, *rows.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.data)


def _write_npz(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    import numpy as np

    with path.open("wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in _gathered(batches).items()})  # type: ignore[arg-type]


def _write_safetensors(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    from .files import save_tensors

    save_tensors(_gathered(batches), path)


def _gathered(batches: "Labelled") -> "dict[str, Tensor]":
    """The samples `x` and, if they have any, their labels `y`."""
    import torch

    z, y = zip(*batches, strict=True)
    return {"x": torch.cat(z)} | ({} if y[0] is None else {"y": torch.cat(y)})


def _write_csv(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for i, (z, y) in enumerate(batches):
            rows = z.flatten(1).tolist()
            if i == 0:
                writer.writerow([f"x{k}" for k in range(len(rows[0]))] + ([] if y is None else ["label"]))
            writer.writerows(
                rows if y is None else [[*row, label] for row, label in zip(rows, y.tolist(), strict=True)]
            )


def _write_images(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    from PIL import Image

    path.mkdir()
    width, done = len(str(n - 1)), 0
    for z, y in batches:
        for i, image in enumerate(to_pixels(z, spec)):
            folder = path
            if y is not None:
                label = int(y[i])
                folder = path / (spec.class_names[label] if 0 <= label < len(spec.class_names) else str(label))
            folder.mkdir(exist_ok=True)
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(pixels).save(folder / f"{done + i:0{width}d}.png")
        done += len(z)


_WRITERS: dict[str, "Callable[[Path, int, Labelled, DataSpec], None]"] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".csv": _write_csv,
    "": _write_images,
}
