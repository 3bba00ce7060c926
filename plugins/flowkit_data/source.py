"""Data as p_init."""

import torch
from torch import Tensor

from flowkit import DataError, DataSource, Normalization, Source, TrainingData

__all__ = ["DataAsSource"]


class DataAsSource(Source):
    """x0 ~ p_data of another data source, so that a two-sided path leads from one distribution to another.

    The x0 are normalised by the normalisation of their own data, as the z are by theirs: both ends then have the scale
    that the model likes, whatever their units. Samples come in the units of the z.

    Arguments:
        data: Where the x0 come from. Labels that it has are not used. Left out: the x0 of the data that the pipeline
            trains on, which come in pairs (x0, z).
    """

    def __init__(self, data: DataSource | None = None, *, training_data: TrainingData = None) -> None:
        self.data, self.training_data = data, training_data

    def sample(
        self,
        n: int,
        event_shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Normalised draws, shape (n, *event_shape)."""
        generator = _on_cpu(generator)
        x0 = self.data.draw(n, generator).z if self.data is not None else self._pairs().draw(n, generator).x0
        assert x0 is not None
        return self.normalization.normalize(x0.to(device)).to(dtype)

    @property
    def normalization(self) -> Normalization:
        """That of the data that the x0 are of."""
        return self.data.normalization if self.data is not None else self._pairs().source_normalization

    def problems(self, event_shape: tuple[int, ...]) -> list[str]:
        """Both ends must have one shape, and there must be x0."""
        if self.data is None and (self.training_data is None or not self._pairs().spec.paired):
            return ["the data do not come in pairs (x0, z): choose the data of x0 (source.data)"]
        shape = (self.data or self._pairs()).spec.event_shape
        if shape == event_shape:
            return []
        return [f"its data points have shape {shape}, and those of the data {event_shape}: choose data of one shape"]

    def _pairs(self) -> DataSource:
        if self.training_data is None:
            raise DataError("the source 'data' was given no data")
        data: DataSource = self.training_data()
        return data


def _on_cpu(generator: torch.Generator | None) -> torch.Generator | None:
    """Where data are drawn. Another device's generator gives the seed, at the price of waiting for the device."""
    if generator is None or generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))
