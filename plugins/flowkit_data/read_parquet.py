"""Reads parquet tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowkit import DataError

from .columns import pick
from .contents import Contents

__all__ = ["read_parquet"]

PANDAS_INDEX = "__index_level_"


def read_parquet(path: Path, labels: str | None, columns: Sequence[str] | None) -> Contents:
    """A .parquet file; needs pyarrow.

    Raises:
        DataError: pyarrow is not installed, a column is missing or not of numbers, a cell is null.
    """
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: parquet needs pyarrow: pip install 'flowkit-torch[parquet]'") from error
    table = parquet.ParquetFile(path).read()
    names = table.column_names
    positions, label = pick(path, names, labels, columns)
    if columns is None:
        positions = [
            position
            for position in positions
            if _is_numeric(table.column(position)) and not names[position].startswith(PANDAS_INDEX)
        ]
        if not positions:
            raise DataError(f"{path}: has no column of numbers; its columns: {', '.join(names)}")
    return Contents(
        path,
        np.stack([_numbers(path, names[position], table.column(position)) for position in positions], axis=1),
        None if label is None else _labels(path, table.column(label)),
        columns=[names[position] for position in positions],
    )


def _is_numeric(column: Any) -> bool:
    import pyarrow.types as types

    return any(is_a(column.type) for is_a in (types.is_integer, types.is_floating, types.is_decimal))


def _numbers(path: Path, name: str, column: Any) -> np.ndarray[Any, Any]:
    if not _is_numeric(column):
        raise DataError(f"{path}: column {name!r} holds values of type {column.type}, not numbers")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{path}: row {row} (counting from 0), column {name!r} is null; {column.null_count} of {len(column)} "
            f"rows are"
        )
    return np.asarray(column.cast("float64").to_numpy())


def _labels(path: Path, column: Any) -> np.ndarray[Any, Any]:
    labels = column.to_pylist()
    if None in labels:
        raise DataError(f"{path}: row {labels.index(None)} (counting from 0): the label is missing")
    return np.array(labels)
