"""Data as p_init."""

import torch
from torch import Tensor

from flowkit import DataSource, Source

__all__ = ["DataAsSource"]


class DataAsSource(Source):
    """x0 ~ p_data of another data source, so that a two-sided path leads from one distribution to another.

    The x0 are normalised by the normalisation of their own data, as the z are by theirs: both ends then have the scale
    that the model likes, whatever their units. Samples come in the units of the z.

    Arguments:
        data: Where the x0 come from. Labels that it has are not used.
    """

    def __init__(self, data: DataSource) -> None:
        self.data = data

    def sample(
        self,
        n: int,
        event_shape: tuple[int, ...],
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Normalised draws, shape (n, *event_shape)."""
        x0 = self.data.draw(n, _on_cpu(generator)).z.to(device)
        return self.data.normalization.normalize(x0).to(dtype)

    def problems(self, event_shape: tuple[int, ...]) -> list[str]:
        """Both ends must have one shape."""
        shape = self.data.spec.event_shape
        if shape == event_shape:
            return []
        return [f"its data points have shape {shape}, and those of the data {event_shape}: choose data of one shape"]


def _on_cpu(generator: torch.Generator | None) -> torch.Generator | None:
    """Where data are drawn. Another device's generator gives the seed, at the price of waiting for the device."""
    if generator is None or generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))
