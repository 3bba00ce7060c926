"""Which columns of a table are the data, and which is the label."""

from collections.abc import Sequence
from pathlib import Path

from flowkit import DataError

__all__ = ["pick"]


def pick(
    path: Path, names: Sequence[str], labels: str | None, columns: Sequence[str] | None
) -> tuple[list[int], int | None]:
    """The positions of the data columns, and of the label column.

    Arguments:
        path: The table, for messages.
        names: The names of all columns.
        labels: The name of the label column.
        columns: The names of the data columns; None for all but the label.

    Raises:
        DataError: A name is missing from the table, stands there twice, or is asked for twice.
    """
    label = None if labels is None else _position(path, names, "labels", labels)
    if columns is None:
        return [position for position in range(len(names)) if position != label], label
    if not columns:
        raise DataError(f"{path}: columns is an empty list; leave it out for all numeric columns")
    positions = [_position(path, names, "columns", name) for name in columns]
    for number, position in enumerate(positions):
        if position == label:
            raise DataError(f"{path}: column {names[position]!r} is in columns, and is the label too")
        if position in positions[:number]:
            raise DataError(f"{path}: column {names[position]!r} is in columns twice")
    return positions, label


def _position(path: Path, names: Sequence[str], setting: str, name: str) -> int:
    if name not in names:
        raise DataError(f"{path}: has no column {name!r} ({setting}); its columns: {', '.join(names)}")
    if names.count(name) > 1:
        raise DataError(f"{path}: has {names.count(name)} columns {name!r} ({setting}); rename all but one")
    return names.index(name)
