"""Reads tables of text."""

import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowkit import DataError, FlowkitWarning

from .columns import pick
from .contents import Contents

__all__ = ["read_csv"]


def read_csv(path: Path, labels: str | None, columns: Sequence[str] | None) -> Contents:
    """A .csv file: UTF-8, cells separated by tabs, semicolons or commas, the first of these on the first line.

    The first row names the columns where none of its cells is a number, where all the names asked for are in it, or
    where it counts two columns or more as 0, 1, ..., as pandas does; otherwise the columns are called so. Blank lines
    are skipped. Left out unless asked for are columns of text, in which no cell is a number, and a first column whose
    name is empty, with a warning: in it pandas writes row numbers.

    Raises:
        DataError: A row of another length, a cell that is not a number, a missing column.
    """
    text = path.read_text(encoding="utf-8-sig")
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, cells in _records(path, text):
        if rows and len(cells) != len(rows[0]):
            raise DataError(f"{path}: line {line} has {len(cells)} cells; line {lines[0]} has {len(rows[0])} of them")
        lines.append(line)
        rows.append(cells)
    if not rows:
        raise DataError(f"{path}: is empty")
    names = [str(position) for position in range(len(rows[0]))]
    if _is_header(rows[0], [*(columns or ()), *([labels] if labels is not None else ())]):
        names, rows, lines = rows[0], rows[1:], lines[1:]
        if names == [str(position) for position in range(len(names))]:
            remark = f"{path}: its first line counts the columns, and is taken for a header; add one if it is data"
            warnings.warn(remark, FlowkitWarning, stacklevel=2)
    if not rows:
        raise DataError(f"{path}: has 0 rows of data, only a header")
    positions, label = pick(path, names, labels, columns)
    cells_of = list(zip(*rows, strict=True))
    if columns is None:
        positions = [position for position in positions if _is_data(path, names, position, cells_of[position])]
    if not positions:
        raise DataError(f"{path}: has no column of numbers; cells are separated by commas, semicolons or tabs")
    numbers = []
    for position in positions:
        parsed = _parse(cells_of[position])
        if isinstance(parsed, int):
            raise DataError(
                f"{path}: line {lines[parsed]}, column {names[position]!r}: {_not_a_number(cells_of[position], parsed)}"
            )
        numbers.append(parsed)
    return Contents(
        path,
        np.stack(numbers, axis=1),
        None if label is None else np.array(cells_of[label]),
        lines,
        [names[position] for position in positions],
    )


def _is_data(path: Path, names: Sequence[str], position: int, cells: Sequence[str]) -> bool:
    """Whether a column that nobody asked for holds data: numbers, and not those of the rows."""
    if not any(map(_is_meant_as_number, cells)):
        return False
    if position == 0 and not names[0]:
        remark = f"{path}: the first column has no name and is left out, as row numbers; if it is data, name it"
        warnings.warn(remark, FlowkitWarning, stacklevel=2)
        return False
    return True


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line that it starts on."""
    first_line = re.search(r"\S.*", text)
    outside_quotes = re.sub(r'"[^"]*"', "", first_line.group()) if first_line else ""
    delimiter = next((mark for mark in "\t;" if mark in outside_quotes), ",")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if len(stripped) > 1 or any(stripped):
                yield line, stripped
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: line {line}: {error}") from error


def _is_header(cells: Sequence[str], wanted: Sequence[str]) -> bool:
    named = cells if cells[0] else cells[1:]  # pandas gives the column of row numbers no name
    counted = list(named) == [str(position) for position in range(len(named))]
    if not any(map(_is_number, cells)) or (counted and len(cells) > 1):
        return True
    return bool(wanted) and all(name in cells and not _is_number(name) for name in wanted)


def _not_a_number(cells: Sequence[str], position: int) -> str:
    if cells[position]:
        return f"{cells[position]!r} is not a number, such as -0.5 or 1e3"
    empty = sum(not cell for cell in cells)
    return f"the cell is empty; {empty} of {len(cells)} are: fill them, drop their rows, or choose other columns"


def _is_number(cell: str) -> bool:
    return not isinstance(_parse([cell]), int)


def _is_meant_as_number(cell: str) -> bool:
    """Also with a decimal comma: such a column must not pass for text."""
    return _is_number(cell.replace(",", "."))


def _parse(cells: Sequence[str]) -> np.ndarray[Any, Any] | int:
    """The cells as float64, or the position of the first that is not a number."""
    values = []
    for cell in cells:
        try:
            values.append(float(cell))
        except ValueError:
            return len(values)
    return np.array(values)
