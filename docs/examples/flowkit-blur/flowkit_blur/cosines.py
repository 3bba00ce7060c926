"""The cosine transform of images and signals, orthonormal, in which a blur multiplies each frequency."""

import math

import torch
from torch import Tensor

__all__ = ["from_cosines", "squared_frequencies", "to_cosines"]


def to_cosines(x: Tensor) -> Tensor:
    """The coefficients of x, (batch, *event) like x itself."""
    for axis in _space(x):
        x = (x.transpose(axis, -1) @ _cosines(x.shape[axis]).to(x).T).transpose(axis, -1)
    return x


def from_cosines(x: Tensor) -> Tensor:
    """What has these coefficients: the inverse of an orthonormal transform is its transpose."""
    for axis in _space(x):
        x = (x.transpose(axis, -1) @ _cosines(x.shape[axis]).to(x)).transpose(axis, -1)
    return x


def squared_frequencies(x: Tensor) -> Tensor:
    r"""$\lambda = \pi^2 \sum_i k_i^2 / n_i^2$ of each coefficient, float64; it broadcasts against x."""
    total = torch.zeros((1,) * x.ndim, dtype=torch.float64)
    for axis in _space(x):
        n = x.shape[axis]
        frequencies = math.pi * torch.arange(n, dtype=torch.float64) / n
        total = total + frequencies.square().reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return total


def _space(x: Tensor) -> range:
    """The axes that are blurred: those after the channels, or the only one of a vector."""
    return range(min(2, x.ndim - 1), x.ndim)


def _cosines(n: int) -> Tensor:
    """The orthonormal DCT-II, a basis vector a row. It costs less than the products with it, so none is kept."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    scale = torch.full((n, 1), math.sqrt(2 / n), dtype=torch.float64)
    scale[0] = math.sqrt(1 / n)
    return scale * torch.cos(math.pi * k * (i + 0.5) / n)
