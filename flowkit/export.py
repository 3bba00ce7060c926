"""Samples into files, by the suffix of the file's name."""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
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
        batches: The samples in the units of the data, with the indices of their classes.
        spec: The shape and classes of the data.

    Labels are written as the data call them: names, or whole numbers if all names are such; class indices where there
    are no names, and where names are text in `.safetensors`, which holds none. A sample without a label has an empty
    name, or -1 among whole numbers unless a class is called so. `.npy` has no room for labels.

    Raises:
        ConfigError: No such format; or a folder of images was asked for, and the samples are none, or the names of
            their classes cannot be those of folders.
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
    """Refuse data that cannot be written as images, in a folder for each class.

    Raises:
        ConfigError: They are not images, or a class has a name that is none of a folder.
    """
    _check_pixels(spec)
    for name in spec.class_names:
        if name in (".", "..") or set(name) & set("/\\\0"):
            raise ConfigError(f"a class is called {name!r}, which no folder can be: write the samples to .npz or .csv")


def _check_pixels(spec: "DataSpec") -> None:
    looks = len(spec.event_shape) == 3 and spec.event_shape[0] in (1, 3, 4)
    if looks and spec.image_range is None:
        raise ConfigError(
            "the data of this model did not say which values are black and white, so samples are no pictures yet: "
            "train with data.image_range, such as [0, 1], or write them to .npy, .npz, .safetensors or .csv"
        )
    if not looks or spec.image_range is None:
        raise ConfigError(
            f"data of shape {spec.event_shape} are not images of 1, 3 or 4 channels: write them to .npy, .npz, "
            f".safetensors or .csv"
        )


def to_pixels(x: "Tensor", spec: "DataSpec") -> "np.ndarray":
    """Images as uint8 of shape (n, height, width, channels); values out of range are clipped.

    Raises:
        ConfigError: The data are not images of 1, 3 or 4 channels.
    """
    _check_pixels(spec)
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

    x, y = _gathered(batches)
    arrays = {"x": x.numpy()} | ({} if y is None else {"y": _as_called(y, spec.class_names)})
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _write_safetensors(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    import torch

    from .files import save_tensors

    x, y = _gathered(batches)
    if y is not None:
        called = _as_called(y, spec.class_names)
        y = y if called.dtype.kind == "U" else torch.from_numpy(called)
    save_tensors({"x": x} | ({} if y is None else {"y": y}), path)


def _gathered(batches: "Labelled") -> "tuple[Tensor, Tensor | None]":
    """The samples and, if they have any, their labels."""
    import torch

    x, y = zip(*batches, strict=True)
    return torch.cat(x), None if y[0] is None else torch.cat(y)


def _as_called(y: "Tensor", names: "Sequence[str]") -> "np.ndarray":
    """Labels as the data call them, text or int64 of shape (n,); see `write_samples`."""
    import numpy as np

    if not names:
        return y.numpy()
    whole = all(map(_is_whole, names))
    none = "-1" if whole and "-1" not in names else ""
    called = np.array([*names, none])[y.numpy()]  # none is -1, the last
    return called.astype(np.int64) if whole and "" not in called else called


def _is_whole(name: str) -> bool:
    """Whether a name is how an int64 is written."""
    try:
        return str(int(name)) == name and -(2**63) <= int(name) < 2**63
    except ValueError:
        return False


def _write_csv(path: Path, n: int, batches: "Labelled", spec: "DataSpec") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for i, (z, y) in enumerate(batches):
            rows = z.flatten(1).tolist()
            if i == 0:
                writer.writerow([f"x{k}" for k in range(len(rows[0]))] + ([] if y is None else ["label"]))
            if y is not None:
                labels = _as_called(y, spec.class_names).tolist()
                rows = [[*row, label] for row, label in zip(rows, labels, strict=True)]
            writer.writerows(rows)


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
