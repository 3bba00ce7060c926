"""Time grids."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, TimeGrid

__all__ = ["UniformGrid"]


class UniformGrid(TimeGrid):
    """Equal steps from `start` to `end`.

    Arguments:
        start: The first time.
        end: The last time; before 1 for a model that is not determined there.
    """

    def __init__(
        self, start: Annotated[float, Field(ge=0, lt=1)] = 0.0, end: Annotated[float, Field(gt=0, le=1)] = 1.0
    ) -> None:
        if start >= end:
            raise ValueError(f"start must be less than end = {end}, got {start}")
        self.start, self.end = start, end

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """`steps + 1` equidistant times, float64."""
        return torch.linspace(self.start, self.end, steps + 1, dtype=torch.float64)
