"""How networks see the time and the label."""

import math

import torch
from torch import Tensor, nn

__all__ = ["LabelEmbedding", "TimeFeatures"]


class TimeFeatures(nn.Module):
    """sin and cos of pi k t for k = 1, ..., so that features vary at several scales over [0, 1].

    Arguments:
        frequencies: How many k; they are 1, 2, 3, ... .
    """

    multiples: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("multiples", math.pi * torch.arange(1, frequencies + 1), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Features of shape (batch, 2 * frequencies) for times of shape (batch,).

        One time expanded to the batch, as in sampling, has its features computed once.
        """
        angles = (t[:1] if t.stride(0) == 0 else t)[:, None] * self.multiples.to(t.dtype)
        return torch.cat([angles.cos(), angles.sin()], dim=1).expand(len(t), -1)


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
