"""Distributions of the training time, which runs from noise to data: papers that count the other way are mirrored."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, TimeSampler, UnsupportedError

__all__ = [
    "CosMapTime",
    "LogNormalTime",
    "LogitNormalTime",
    "LowDiscrepancyTime",
    "ModeTime",
    "UniformTime",
    "inside",
]


def inside(t: Tensor) -> Tensor:
    """Times with 0 and 1 left out, where fields may be infinite."""
    gap = torch.finfo(t.dtype).eps
    return t.clamp(gap, 1 - gap)


class UniformTime(TimeSampler):
    """t uniform on (low, high).

    Arguments:
        low: The earliest time.
        high: The latest time.
    """

    def __init__(
        self, low: Annotated[float, Field(ge=0, lt=1)] = 0.0, high: Annotated[float, Field(gt=0, le=1)] = 1.0
    ) -> None:
        if low >= high:
            raise ValueError(f"low must be less than high = {high}, got {low}")
        self.low, self.high = low, high

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """Uniform draws, shape (n,)."""
        t = self.low + (self.high - self.low) * torch.rand(n, generator=generator, device=device, dtype=dtype)
        gap = torch.finfo(dtype).eps
        return t.clamp(max(self.low, gap), min(self.high, 1 - gap))


class LowDiscrepancyTime(TimeSampler):
    r"""$t_i = (u + i/n) \bmod 1$ with one uniform u for the batch: uniform each, and evenly spread together.

    The mean of a loss over the batch then varies less from step to step.

    References:
        Kingma et al. 2021, Variational Diffusion Models, appendix I.1. https://arxiv.org/abs/2107.00630
    """

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """One time in each n-th of the circle, shape (n,)."""
        wide = torch.promote_types(dtype, torch.float32)  # half precision does not count to n
        u = torch.rand(1, generator=generator, device=device, dtype=wide)
        return inside(((u + torch.arange(n, device=device, dtype=wide) / n) % 1).to(dtype))


class LogitNormalTime(TimeSampler):
    r"""$\mathrm{logit}\, t \sim N(mean, std^2)$: more times where noise and data are mixed.

    Arguments:
        mean: Above 0, more times near the data. (In the paper's time, 1 - t, it is -m.)
        std: The spread.

    References:
        Esser et al. 2024, Scaling Rectified Flow Transformers (SD3), equation 19. https://arxiv.org/abs/2403.03206
    """

    def __init__(self, mean: float = 0.0, std: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.mean, self.std = mean, std

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """Logit-normal draws, shape (n,)."""
        logit = self.mean + self.std * torch.randn(n, generator=generator, device=device, dtype=dtype)
        return inside(torch.sigmoid(logit))


class LogNormalTime(TimeSampler):
    r"""$\ln\sigma \sim N(mean, std^2)$ for the noise level $\sigma = \beta_t/\alpha_t$ of any path with a schedule.

    On the straight path, $\sigma = (1 - t)/t$, it is `logit_normal` with the mean -mean.

    Arguments:
        mean: P_mean.
        std: P_std.

    References:
        Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, table 1.
        https://arxiv.org/abs/2206.00364
    """

    def __init__(self, mean: float = -1.2, std: Annotated[float, Field(gt=0)] = 1.2) -> None:
        self.mean, self.std = mean, std

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """The times of log-normal noise levels, shape (n,); levels that the path does not have become its ends."""
        if path is None or path.schedule is None:
            raise UnsupportedError("times of noise levels need a path with a schedule: pass path=...")
        log_sigma = self.mean + self.std * torch.randn(n, generator=generator, device=device, dtype=dtype)
        return inside(path.schedule.time_of_log_snr(-2 * log_sigma))

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        if path.schedule is not None:
            return []
        return [f"time 'log_normal' needs a path with a schedule; {type(path).__name__} has none: use 'logit_normal'"]


class ModeTime(TimeSampler):
    r"""$t = u + s\,(u - \sin^2(\pi u/2))$ with uniform u: a density with a mode, at one half or at the ends.

    Arguments:
        scale: s. Above 0 the middle is drawn more often, below 0 the ends; at 0 t is uniform.

    References:
        Esser et al. 2024, Scaling Rectified Flow Transformers (SD3), equation 20; the same in 1 - t.
        https://arxiv.org/abs/2403.03206
    """

    def __init__(self, scale: Annotated[float, Field(ge=-1, le=2 / (math.pi - 2))] = 1.29) -> None:
        self.scale = scale

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """Draws with a mode, shape (n,)."""
        u = torch.rand(n, generator=generator, device=device, dtype=dtype)
        return inside(u + self.scale * (u - torch.sin(math.pi / 2 * u).square()))


class CosMapTime(TimeSampler):
    r"""$t/(1 - t) = \tan(\pi u/2)$ with uniform u: on the straight path, the noise levels of the cosine schedule.

    References:
        Esser et al. 2024, Scaling Rectified Flow Transformers (SD3), section 3.1, CosMap; the same in 1 - t.
        https://arxiv.org/abs/2403.03206
    """

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """The sine of a uniform angle over the sum of its sine and cosine, shape (n,)."""
        angle = math.pi / 2 * torch.rand(n, generator=generator, device=device, dtype=dtype)
        return inside(angle.sin() / (angle.sin() + angle.cos()))
