"""What was found in a data file, checked and made into tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkit import DataError

__all__ = ["Contents"]


@dataclass(frozen=True)
class Contents:
    """The numbers and labels of a file, and what its rows and columns are called.

    Arguments:
        path: The file.
        values: Shape (n, *event), or (n,) for events of one number.
        labels: Shape (n,), or None.
        lines: In a text file, the line each row starts on, as an editor counts.
        columns: In a table, the names of the columns.
    """

    path: Path
    values: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any] | None = None
    lines: Sequence[int] = ()
    columns: Sequence[str] = ()

    def events(self) -> Tensor:
        """The values as float32 of shape (n, *event), n at least 2 and all of them finite.

        Raises:
            DataError: They are not such.
        """
        values = self._numbers()
        if values.ndim == 0:
            raise DataError(f"{self.path}: holds a single number; expected an array with one row a data point")
        if values.ndim == 1:
            values = values[:, None]
        if 0 in values.shape[1:]:
            raise DataError(f"{self.path}: its rows are empty (shape {values.shape})")
        if len(values) < 2:
            rows = "1 row" if len(values) else "0 rows"
            raise DataError(f"{self.path}: has {rows} of data; at least 2 are needed")
        with np.errstate(over="ignore"):
            events = values.astype(np.float32, order="C")
        finite = np.isfinite(events)
        if not finite.all():
            index = np.unravel_index(np.argmin(finite), finite.shape)
            bad = np.unique(np.nonzero(~finite)[0]).size
            raise DataError(
                f"{self.path}: {self.row(int(index[0]))}, {self._column(index[1:])}: {values[index]} is not a finite "
                f"float32 number; {bad} of {len(values)} rows hold such values"
            )
        self._refuse_lost_digits(values, events)
        return torch.from_numpy(events)

    def _refuse_lost_digits(self, values: np.ndarray[Any, Any], events: np.ndarray[Any, Any]) -> None:
        """Numbers that are far from 0 and vary little lose in float32 what they vary by: features of a table each, all
        numbers together of data with more axes. They are compared in their own type, which may hold what float64 loses.
        """
        if values.ndim != 2:
            values, events = values.reshape(-1, 1), events.reshape(-1, 1)
        with np.errstate(invalid="ignore"):  # the largest integers are rounded to one that is larger still
            exact = (events.astype(values.dtype) == values).all(axis=0)
        if exact.all():
            return
        low, high = values.min(axis=0), values.max(axis=0)
        spacing = np.spacing(np.abs(events).max(axis=0))
        lost = ~exact & (low != high) & (values.std(axis=0, dtype=np.float64) < 10 * spacing)
        if lost.any():
            column = int(np.argmax(lost))
            where = f"{self._column((column,))}: its" if self.values.ndim <= 2 else "its"
            raise DataError(
                f"{self.path}: {where} values near {values[0, column]:g} vary by "
                f"{high[column] - low[column]:.2g}, too little for float32; subtract an offset first"
            )

    def classes(self) -> tuple[Tensor | None, tuple[str, ...]]:
        """The labels as class indices, int64 of shape (n,), and the names of the classes in their order.

        Classes are sorted: by number where all labels are whole numbers, else as text.

        Raises:
            DataError: A label is missing, or is neither a whole number nor text.
        """
        if self.labels is None:
            return None, ()
        labels = self.labels[:, 0] if self.labels.ndim == 2 and self.labels.shape[1] == 1 else self.labels
        if labels.shape != self.values.shape[:1]:
            raise DataError(
                f"{self.path}: has labels of shape {labels.shape}; expected one for each of the {len(self.values)} rows"
            )
        names, index = np.unique(self._labels_of_one_type(labels), return_inverse=True)
        return torch.from_numpy(index.astype(np.int64)), tuple(map(str, names))

    def row(self, index: int) -> str:
        """What a message calls a row."""
        return f"line {self.lines[index]}" if self.lines else f"row {index} (counting from 0)"

    def _column(self, index: tuple[Any, ...]) -> str:
        if self.columns:
            return f"column {self.columns[index[0]]!r}"
        return f"column {index[0]}" if len(index) == 1 else f"element {tuple(map(int, index))}"

    def _numbers(self) -> np.ndarray[Any, Any]:
        kind = self.values.dtype.kind
        if kind == "c":
            raise DataError(f"{self.path}: holds complex numbers; store real and imaginary parts as real ones")
        if kind not in "biuf":
            raise DataError(f"{self.path}: holds values of type {self.values.dtype}, not numbers")
        return self.values

    def _labels_of_one_type(self, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Integers if all of them are whole numbers, else text."""
        if labels.dtype.kind in "iu":
            return labels
        if labels.dtype.kind == "b":
            return labels.astype(np.int64)
        if labels.dtype.kind == "S":
            labels = np.char.decode(labels, "utf-8")
        if labels.dtype.kind not in "Uf":
            raise DataError(f"{self.path}: has labels of type {labels.dtype}; expected whole numbers or text")
        texts = [str(label).strip() for label in labels]
        for index, text in enumerate(texts):
            if text.casefold() in ("", "nan"):
                raise DataError(f"{self.path}: {self.row(index)}: the label is missing")
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError:
            return np.array(texts)
        with np.errstate(invalid="ignore"):
            whole = numbers == np.trunc(numbers)
        whole &= np.abs(numbers) < 2**53
        if not whole.all():
            index = int(np.argmin(whole))
            raise DataError(
                f"{self.path}: {self.row(index)}: the label {texts[index]} is not a whole number; classes are whole "
                f"numbers or text"
            )
        return numbers.astype(np.int64)
