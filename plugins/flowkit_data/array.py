"""Arrays and tables from files."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from flowkit import DataError, InMemory

from .contents import Contents
from .read_arrays import read_npy, read_npz, read_safetensors
from .read_csv import read_csv
from .read_parquet import read_parquet

__all__ = ["ArrayFile"]

ARRAYS: dict[str, Callable[[Path, str | None, str | None], Contents]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors,
}
NAMED = (".npz", ".safetensors")
"""Those whose arrays have names."""
TABLES: dict[str, Callable[[Path, str | None, list[str] | None], Contents]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
}


class ArrayFile(InMemory):
    """The rows of an array or a table, one data point each, held in memory as float32.

    A one-dimensional array is read as data points of one number. The model sees (n, d) data with every
    feature standardised, a constant feature only shifted; data with more axes, such as images, are
    standardised by a single mean and a single deviation.

    Arguments:
        path: A .npy, .npz, .safetensors, .csv or .parquet file; a relative one starts at the working folder.
        key: Which array of a .npz or .safetensors file. Left out: the only one, or the one called z, x or data.
        labels: The labels, whole numbers or text: the key of an array, or the name of a column.
        columns: Which columns of a .csv or .parquet file. Left out: all columns of numbers but the labels and the row
            numbers that pandas adds, known by a first column of a .csv that has no name. The columns of a .csv
            without a header are called 0, 1, ...; a first line that counts them so is a header.
        x0: For pairs (x0, z), the file of the x0: a row for each row of `path`. Of a .npz or .safetensors file, which
            may be `path` itself, it is the array called x0.
        image_range: For images, arrays of shape (n, channels, height, width): the values of black and white, such as
            [0, 1] or [0, 255]; samples can then be written as pictures.

    Raises:
        DataError: The file cannot be read, or holds something other than finite numbers; names file and row.
    """

    def __init__(
        self,
        path: Path,
        key: str | None = None,
        labels: str | None = None,
        columns: list[str] | None = None,
        x0: Path | None = None,
        image_range: tuple[float, float] | None = None,
    ) -> None:
        self.path, self.key, self.labels, self.columns, self.image_range = path, key, labels, columns, image_range
        contents = _read(Path(path).expanduser(), key, labels, columns)
        z = contents.events()
        y, names = contents.classes()
        starts = None if x0 is None else _read_x0(Path(x0).expanduser())
        super().__init__(z, y, starts, class_names=names, image_range=image_range)


def _read_x0(path: Path) -> Tensor:
    return _read(path, "x0" if path.suffix.lower() in NAMED else None, None, None).events()


def _read(path: Path, key: str | None, labels: str | None, columns: list[str] | None) -> Contents:
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file (the data 'images' reads folders of images)")
    if not path.exists():
        raise DataError(f"{path}: no such file; looked in {path.absolute().parent}")
    if suffix not in {*ARRAYS, *TABLES}:
        raise DataError(f"{path}: files of type {suffix!r} cannot be read; use {', '.join([*ARRAYS, *TABLES])}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    try:
        if suffix in TABLES:
            if key is not None:
                raise DataError(f"{path}: a table holds no key {key!r}; choose columns instead")
            return TABLES[suffix](path, labels, columns)
        if columns is not None:
            raise DataError(f"{path}: columns go with .csv and .parquet files; choose a key instead")
        return ARRAYS[suffix](path, key, labels)
    except DataError:
        raise
    except Exception as error:  # whatever a reader raises on bytes that are not of its format
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a {suffix} file: {reason}") from error
