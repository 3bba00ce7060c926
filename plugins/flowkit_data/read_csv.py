"""Reads tables of text."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowkit import DataError

from .columns import pick
from .contents import Contents

__all__ = ["read_csv"]


def read_csv(path: Path, labels: str | None, columns: Sequence[str] | None) -> Contents:
    """A .csv file: UTF-8, cells separated by tabs, semicolons or commas, the first of these on the first line.

    The first row names the columns where none of its cells is a number, or where all the names asked for
    are in it; otherwise the columns are called 0, 1, ... Blank lines are skipped. Columns of text are left
    out unless asked for: those in which no cell is a number.

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
    if not rows:
        raise DataError(f"{path}: has 0 rows of data, only a header")
    positions, label = pick(path, names, labels, columns)
    cells_of = list(zip(*rows, strict=True))
    numbers = {}
    for position in positions:
        parsed = _parse(cells_of[position])
        if isinstance(parsed, int):
            if columns is None and not any(map(_is_meant_as_number, cells_of[position])):
                continue
            raise DataError(
                f"{path}: line {lines[parsed]}, column {names[position]!r}: "
                f"{cells_of[position][parsed]!r} is not a number, such as -0.5 or 1e3"
            )
        numbers[position] = parsed
    if not numbers:
        raise DataError(f"{path}: has no column of numbers; cells are separated by commas, semicolons or tabs")
    return Contents(
        path,
        np.stack(list(numbers.values()), axis=1),
        None if label is None else np.array(cells_of[label]),
        lines,
        [names[position] for position in numbers],
    )


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
    if not any(map(_is_number, cells)):
        return True
    return bool(wanted) and all(name in cells and not _is_number(name) for name in wanted)


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
