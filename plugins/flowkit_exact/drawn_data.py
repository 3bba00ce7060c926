"""The exact fields of the points of a data source."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Dataset, DataSource, Path

from .finite_data import FiniteDataField

__all__ = ["DrawnDataField"]


class DrawnDataField(FiniteDataField):
    """The field of a finite data set, or of draws of an endless data source.

    The points are in the units of a model, as `data.normalization` gives them, and keep their labels.

    Arguments:
        path: A Gaussian path.
        data: Where the points come from. A finite set is taken whole.
        draws: How many points are drawn of a source that is not finite.
        seed: Which ones.
    """

    def __init__(
        self,
        path: Path,
        data: DataSource,
        draws: Annotated[int, Field(gt=0)] = 1000,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        if isinstance(data, Dataset):
            z, y = data.take(torch.arange(len(data)))
        else:
            z, y = data.draw(draws, torch.Generator().manual_seed(seed))
        super().__init__(path, data.normalization.normalize(z), y if isinstance(y, Tensor) else None)
        self.data, self.draws, self.seed = data, draws, seed
