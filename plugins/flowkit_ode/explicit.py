"""Times written out."""

from itertools import pairwise

import torch
from torch import Tensor

from flowkit import Path, TimeGrid

__all__ = ["ExplicitGrid"]


class ExplicitGrid(TimeGrid):
    """The times given, which say themselves how many steps there are: `sampling.steps` makes no difference.

    Arguments:
        values: Two or more times in [0, 1], strictly increasing.
    """

    own_steps = True

    def __init__(self, values: list[float]) -> None:
        grows = len(values) > 1 and all(t < s for t, s in pairwise(values))
        if not grows or not (values[0] >= 0 and values[-1] <= 1):
            raise ValueError(f"values should be two or more strictly increasing times in [0, 1]; got {values}")
        self.values = values

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """The times as they are, float64."""
        return torch.tensor(self.values, dtype=torch.float64)
