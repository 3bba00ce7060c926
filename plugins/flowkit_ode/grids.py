"""Time grids that are functions of equal steps."""

import math
from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, TimeGrid

__all__ = ["CosineGrid", "QuadraticGrid", "ShiftedGrid", "UniformGrid"]

Start = Annotated[float, Field(ge=0, lt=1)]
End = Annotated[float, Field(gt=0, le=1)]


class _Warped(TimeGrid):
    """Equal steps on [0, 1], warped, and laid between `start` and `end`."""

    def __init__(self, start: Start = 0.0, end: End = 1.0) -> None:
        if start >= end:
            raise ValueError(f"start must be less than end = {end}, got {start}")
        self.start, self.end = start, end

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """`steps + 1` times, float64."""
        warped = self.warp(torch.linspace(0, 1, steps + 1, dtype=torch.float64))
        times = self.start + (self.end - self.start) * warped
        times[0], times[-1] = self.start, self.end
        return times

    @abstractmethod
    def warp(self, u: Tensor) -> Tensor:
        """A strictly increasing map of [0, 1] onto itself."""


class UniformGrid(_Warped):
    """Equal steps from `start` to `end`.

    Arguments:
        start: The first time.
        end: The last time; before 1 for a model that is not determined there.
    """

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """`steps + 1` equidistant times, float64."""
        return torch.linspace(self.start, self.end, steps + 1, dtype=torch.float64)

    def warp(self, u: Tensor) -> Tensor:
        """As it is."""
        return u


class QuadraticGrid(_Warped):
    """t = 1 - (1 - u)^2 for equal steps of u: long steps in the noise, short ones at the data.

    Arguments:
        start: The first time.
        end: The last time.

    References:
        Song, Meng and Ermon 2021, Denoising Diffusion Implicit Models, appendix D.2. https://arxiv.org/abs/2010.02502
    """

    def warp(self, u: Tensor) -> Tensor:
        """1 - (1 - u)^2."""
        return u * (2 - u)


class CosineGrid(_Warped):
    r"""$t = 1 - \cos(\pi u/2)$ for equal steps of u: short steps in the noise, where few-step samples are decided.

    Arguments:
        start: The first time.
        end: The last time.

    References:
        Du et al. 2024, CosyVoice, the section on optimal-transport flow matching. https://arxiv.org/abs/2407.05407
    """

    def warp(self, u: Tensor) -> Tensor:
        r"""$2 \sin^2(\pi u/4)$, which is the same without cancellation."""
        return 2 * torch.sin(u * (math.pi / 4)).square()


class ShiftedGrid(_Warped):
    r"""$t = u / (u + s(1 - u))$ for equal steps of u: with s > 1 more steps in the noise, with s < 1 more at the data.

    Large images need more noise to be destroyed as much as small ones; with n times the pixels,
    $s = \sqrt n$ makes up for it. In the time 1 - t from data to noise this is s t / (1 + (s - 1) t).

    Arguments:
        shift: s.
        start: The first time.
        end: The last time.

    References:
        Esser et al. 2024, Scaling Rectified Flow Transformers, equation 23. https://arxiv.org/abs/2403.03206
    """

    def __init__(self, shift: Annotated[float, Field(gt=0)] = 3.0, start: Start = 0.0, end: End = 1.0) -> None:
        super().__init__(start, end)
        self.shift = shift

    def warp(self, u: Tensor) -> Tensor:
        """The times u / (u + s (1 - u))."""
        return u / (u + self.shift * (1 - u))
