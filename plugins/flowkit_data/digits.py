"""Handwritten digits."""

from functools import cached_property

import torch
from sklearn.datasets import load_digits

from flowkit import InMemory, Normalization

__all__ = ["Digits"]


class Digits(InMemory):
    """The 1797 handwritten digits that come with scikit-learn: 8 x 8 grey pixels from 0 to 1.

    They arrive as counts from 0 to 16; the model sees them on [-1, 1].

    Arguments:
        labels: Whether images carry their digit as the condition y.

    References:
        Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (the test part).
        https://doi.org/10.24432/C50P49
    """

    def __init__(self, labels: bool = True) -> None:
        self.labels = labels
        found = load_digits()
        z = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
        names = "0123456789" if labels else ""
        super().__init__(z, torch.tensor(found.target) if labels else None, class_names=[*names], image_range=(0, 1))

    @cached_property
    def normalization(self) -> Normalization:
        """From [0, 1] to [-1, 1]."""
        return Normalization(torch.tensor(0.5), torch.tensor(0.5))
