"""How far a prediction is from its target."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

__all__ = ["DISTANCES", "Distance", "huber", "pseudo_huber", "squared"]

Distance = Literal["squared", "huber", "pseudo_huber"]
"""The names of the distances. Only under `squared` is the minimum the conditional mean, which is the marginal field."""

_C = 0.00054


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over the event of the squared error e^2, shape (batch,)."""
    return (prediction - target).square().flatten(1).mean(1)


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over the event of e^2 where |e| <= 1, of 2|e| - 1 elsewhere, shape (batch,).

    References:
        Huber 1964, Robust Estimation of a Location Parameter. https://doi.org/10.1214/aoms/1177703732
    """
    error = (prediction - target).abs()
    return torch.where(error <= 1, error.square(), 2 * error - 1).flatten(1).mean(1)


def pseudo_huber(prediction: Tensor, target: Tensor) -> Tensor:
    r"""$\sqrt{m + c^2} - c$ of the mean m of the squared error over the event, c = 0.00054, shape (batch,).

    Over d elements it is $(\sqrt{|e|^2 + c_d^2} - c_d)/\sqrt d$ with their $c_d = 0.00054 \sqrt d$: nearly the length
    of the error, and smooth at 0.

    References:
        Song and Dhariwal 2023, Improved Techniques for Training Consistency Models, section 3.3.
        https://arxiv.org/abs/2310.14189
    """
    mean = squared(prediction, target)
    return mean / ((mean + _C**2).sqrt() + _C)  # without the cancellation of the difference


DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared,
    "huber": huber,
    "pseudo_huber": pseudo_huber,
}
