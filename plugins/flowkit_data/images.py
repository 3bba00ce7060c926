"""Folders of images."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import Field
from torch import Tensor

from flowkit import Batch, DataError, Dataset, DataSpec, Normalization

__all__ = ["ImageFolder"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")


class ImageFolder(Dataset):
    """The images of a folder, as pixels from 0 to 1; the model sees them on [-1, 1].

    Images lie in the folder itself, or in its subfolders, each of which is a class. They are held in memory
    as bytes, in the order of their names. Hidden files and files of other types are ignored.

    Arguments:
        path: The folder; a relative one starts at the working folder.
        size: Resize the shorter side to this and crop the centre. Left out: all images must have one size.
        mode: Colour, `RGB`, or grey, `L`. Transparency is left out: the colours below it are seen.
        labels: Whether images carry their subfolder's number as the condition y, if there are subfolders.

    Raises:
        DataError: The folder or an image cannot be used; the message names it.
    """

    def __init__(
        self,
        path: Path,
        size: Annotated[int, Field(gt=0)] | None = None,
        mode: Literal["RGB", "L"] = "RGB",
        labels: bool = True,
    ) -> None:
        self.path, self.size, self.mode, self.labels = path, size, mode, labels
        folder = Path(path).expanduser()
        classes = _files(folder)
        files = [file for found in classes.values() for file in found]
        self._pixels = torch.from_numpy(_pixels(files, size, mode))
        self._labels: Tensor | None = None
        self._class_names: tuple[str, ...] = ()
        if labels and "" not in classes:
            counts = torch.tensor([len(found) for found in classes.values()])
            self._labels = torch.arange(len(classes)).repeat_interleave(counts)
            self._class_names = tuple(classes)

    def __len__(self) -> int:
        return len(self._pixels)

    def take(self, index: Tensor) -> Batch:
        """The images at `index`, float32 of shape (n, channels, height, width)."""
        y = None if self._labels is None else self._labels[index]
        return Batch(self._pixels[index].float() / 255, y)

    @property
    def spec(self) -> DataSpec:
        """Channels, height and width, and the classes that were found."""
        shape = tuple(self._pixels.shape[1:])
        return DataSpec(shape, len(self._class_names) or None, self._class_names, image_range=(0.0, 1.0))

    @cached_property
    def normalization(self) -> Normalization:
        """From [0, 1] to [-1, 1]."""
        return Normalization(torch.tensor(0.5), torch.tensor(0.5))


def _files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, sorted; of the class "" where they lie in the folder itself."""
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; looked in {folder.absolute().parent}")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; expected a folder of images")
    here = _images_in(folder)
    subfolders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    classes = {entry.name: _images_in(entry) for entry in subfolders}
    filled = [name for name, found in classes.items() if found]
    if here and filled:
        raise DataError(
            f"{folder}: has images of its own ({here[0].name}) and in the subfolder {filled[0]}; a class must have "
            f"a subfolder, and images without one cannot lie beside it"
        )
    if here:
        return {"": here}
    if not filled:
        raise DataError(f"{folder}: holds no images ({', '.join(SUFFIXES)}), nor does a subfolder")
    for name, found in classes.items():
        if not found:
            raise DataError(f"{folder / name}: this class has no images directly in its folder; remove or fill it")
    return classes


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _pixels(files: list[Path], size: int | None, mode: str) -> np.ndarray[Any, Any]:
    """All images as bytes, shape (n, channels, height, width)."""
    arrays: list[np.ndarray[Any, Any]] = []
    for file in files:
        pixels = np.asarray(_open(file, size, mode), dtype=np.uint8)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if arrays and pixels.shape != arrays[0].shape:
            (_, height, width), (_, other_height, other_width) = arrays[0].shape, pixels.shape
            raise DataError(
                f"{file}: has {other_width} x {other_height} pixels, and {files[0]} has {width} x {height}; set "
                f"data.size to give all images one size"
            )
        arrays.append(pixels)
    return np.stack(arrays)


def _open(file: Path, size: int | None, mode: str) -> Image.Image:
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":
                raise DataError(f"{file}: has pixels of more than 8 bits (mode {image.mode}); convert it to 8")
            image = image.convert(mode)
    except DataError:
        raise
    except Exception as error:  # whatever pillow raises on bytes that are not an image
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{file}: cannot be read as an image: {reason}") from error
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS) if size else image
