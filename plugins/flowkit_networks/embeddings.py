"""How networks see the time, the label and the place."""

import math

import torch
from torch import Tensor, nn

__all__ = ["LabelEmbedding", "TimeEmbedding", "TimeFeatures", "place_features"]


class TimeFeatures(nn.Module):
    """sin and cos of pi k t for k = 1, ..., so that features vary at several scales over [0, 1].

    Arguments:
        frequencies: How many k; they are 1, 2, 3, ... .
    """

    counts: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.arange(1, frequencies + 1), persistent=False)  # whole: never rounded

    def forward(self, t: Tensor) -> Tensor:
        """Features of shape (batch, 2 * frequencies) for times of shape (batch,), float32 at least.

        One time expanded to the batch, as in sampling, has its features computed once.
        """
        angles = (t[:1] if t.stride(0) == 0 else t)[:, None] * (math.pi * self.counts)
        return torch.cat([angles.cos(), angles.sin()], dim=1).expand(len(t), -1)


class TimeEmbedding(nn.ModuleList):
    """`TimeFeatures` and layers on them. The features are of the time as it is, the layers in the type of the state.

    Arguments:
        frequencies: How many frequencies.
        layers: What comes after the features.
    """

    def __init__(self, frequencies: int, *layers: nn.Module) -> None:
        super().__init__([TimeFeatures(frequencies), *layers])

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Shape (batch, features) for times of shape (batch,), in the type of x."""
        features, *layers = self
        c: Tensor = features(t).to(x.dtype)
        for layer in layers:
            c = layer(c)
        return c


class LabelEmbedding(nn.Module):
    """A learned vector for each class, and one for "no label" (-1, or y = None).

    Arguments:
        num_classes: How many classes.
        width: The length of the vectors.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_classes + 1, width)

    def forward(self, y: Tensor | None, batch: int) -> Tensor:
        """Vectors of shape (batch, width) for labels of shape (batch,)."""
        if y is None:
            y = torch.full((batch,), -1, device=self.table.weight.device)
        return self.table(y + 1)


def place_features(rows: int, columns: int, width: int) -> Tensor:
    r"""The column and the row of every place of a grid, as sines and cosines of wavelengths from 2 pi to 20000 pi.

    With d = width / 4 and $\omega_i = 10000^{-i/d}$ for i = 0, ..., d - 1, the place in row r and column s has

    $$(\sin \omega_i s, \; \cos \omega_i s, \; \sin \omega_i r, \; \cos \omega_i r),$$

    first the d sines of the column, then its cosines, then those of the row.

    Arguments:
        rows: How many rows.
        columns: How many columns.
        width: How many features, divisible by 4.

    Returns:
        Shape (rows * columns, width), row by row.

    References:
        Peebles and Xie 2023, section 3.2; `get_2d_sincos_pos_embed` of their code. https://arxiv.org/abs/2212.09748
    """
    frequencies = 10000.0 ** (torch.arange(width // 4, dtype=torch.float64) / -(width // 4))

    def of(places: int) -> Tensor:
        angles = torch.arange(places)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    column, row = of(columns).expand(rows, -1, -1), of(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1).to(torch.get_default_dtype())
