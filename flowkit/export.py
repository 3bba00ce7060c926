"""Samples into files, by the suffix of the file's name."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .interfaces.data import DataSpec

__all__ = ["check_images", "check_place", "check_writable", "to_pixels", "write_samples"]


def write_samples(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    """Write samples to `.npy`, `.npz`, `.safetensors`, `.csv`, or `.png` files in a folder (no suffix).

    Arguments:
        path: Where to.
        x: Shape (n, *event), in the units of the data.
        y: Their labels, shape (n,), or None. `.npy` has no room for them.
        spec: The shape and classes of the data.

    Raises:
        ConfigError: No such format; or a folder of images was asked for, and the samples are none.
    """
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[path.suffix.lower()](path, x, y, spec)


def check_writable(path: Path) -> None:
    """Refuse a format that there is none of, before any work is done. Imports no torch."""
    if path.suffix.lower() not in _WRITERS:
        known = ", ".join(suffix for suffix in _WRITERS if suffix)
        raise ConfigError(f"--out {path}: should end in {known}, or be a folder for .png images")
    if path.is_dir() and path.suffix:
        raise ConfigError(f"--out {path}: is a folder")
    if not path.suffix and path.is_file():
        raise ConfigError(f"--out {path}: is a file without a suffix; a folder of .png images goes elsewhere")
    if not path.suffix and path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"--out {path}: is a folder with files in it; choose a new one, so that no others mix in")
    check_place(path)


def check_place(path: Path) -> None:
    """Refuse a place where nothing can be written, before any work is done.

    Raises:
        ConfigError: A folder on the way is a file, or is not ours to write to.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if there != path and not there.is_dir():
        raise ConfigError(f"{path}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{path}: {there} cannot be written to")


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


def _write_npy(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    import numpy as np

    np.save(path, x.numpy())


def _write_npz(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    import numpy as np

    arrays = {"x": x.numpy()} | ({} if y is None else {"y": y.numpy()})
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _write_safetensors(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    from safetensors.torch import save_file

    save_file({"x": x.contiguous()} | ({} if y is None else {"y": y.contiguous()}), path)


def _write_csv(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    rows = x.flatten(1).tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f"x{i}" for i in range(x[0].numel())] + ([] if y is None else ["label"]))
        for row, label in zip(rows, [None] * len(rows) if y is None else y.tolist(), strict=True):
            writer.writerow([*row] if label is None else [*row, label])


def _write_images(path: Path, x: "Tensor", y: "Tensor | None", spec: "DataSpec") -> None:
    from PIL import Image

    pixels = to_pixels(x, spec)
    width = len(str(len(pixels) - 1))
    for i, image in enumerate(pixels):
        folder = path
        if y is not None:
            label = int(y[i])
            folder = path / (spec.class_names[label] if 0 <= label < len(spec.class_names) else str(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{i:0{width}d}.png")


_WRITERS: dict[str, Callable[[Path, "Tensor", "Tensor | None", "DataSpec"], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".csv": _write_csv,
    "": _write_images,
}
