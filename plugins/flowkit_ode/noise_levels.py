"""Time grids that are ladders of noise levels of the path."""

import math
from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, Schedule, TimeGrid, UnsupportedError

__all__ = ["KarrasGrid", "LogSNRGrid"]

Start = Annotated[float, Field(ge=0, lt=1)]
End = Annotated[float, Field(gt=0, le=1)]


class _NoiseLevels(TimeGrid):
    r"""Times at which $\sigma_t = \beta_t/\alpha_t$ takes given values, from a Gaussian path's schedule.

    The ladder goes from sigma_max to sigma_min, or as far as the path does. Where sigma goes on falling after that, as
    towards 0 at t = 1, one last step leads from sigma_min to `end`. The first time is `start`, where sigma may be
    infinite, in place of the time of sigma_max: x is as good as pure noise between the two.
    """

    def __init__(self, sigma_min: float, sigma_max: float, start: float, end: float) -> None:
        if start >= end:
            raise ValueError(f"start must be less than end = {end}, got {start}")
        if sigma_min >= sigma_max:
            raise ValueError(f"sigma_min must be less than sigma_max = {sigma_max}, got {sigma_min}")
        self.sigma_min, self.sigma_max, self.start, self.end = sigma_min, sigma_max, start, end

    @abstractmethod
    def ladder(self, high: float, low: float, u: Tensor) -> Tensor:
        """Noise levels that fall from `high` at u = 0 to `low` at u = 1."""

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule, and noise levels in the range."""
        name = type(self).__name__
        if path.schedule is None:
            return [f"{name} needs a path with a schedule; {type(path).__name__} has none: use the grid 'uniform'"]
        high, low, _ = self._range(path.schedule)
        if high > low:
            return []
        return [
            f"{name}: between start = {self.start:g} and end = {self.end:g} this path has no noise levels within "
            f"sigma_min = {self.sigma_min:g} and sigma_max = {self.sigma_max:g}: widen one of the two ranges"
        ]

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """`steps + 1` times, float64.

        Raises:
            UnsupportedError: There is no path, or one without a schedule.
        """
        if path is None:
            raise UnsupportedError(f"{type(self).__name__} needs a path: its times are those of noise levels")
        if problems := self.problems(path):
            raise UnsupportedError("; ".join(problems))
        assert path.schedule is not None  # see `problems`
        high, low, ends = self._range(path.schedule)
        inner = torch.arange(1, steps, dtype=torch.float64) / (steps if ends else max(steps - 1, 1))
        times = path.schedule.time_of_log_snr(-2 * self.ladder(high, low, inner).log())
        return torch.cat([times.new_tensor([self.start]), times, times.new_tensor([self.end])])

    def _range(self, schedule: Schedule) -> tuple[float, float, bool]:
        """The highest and the lowest level, and whether the lowest is that at `end`."""
        first, last = schedule.log_snr(torch.tensor([self.start, self.end], dtype=torch.float64)).tolist()
        at_start, at_end = _sigma(first), _sigma(last)
        return min(self.sigma_max, at_start), max(self.sigma_min, at_end), at_end >= self.sigma_min


def _sigma(log_snr: float) -> float:
    return math.exp(-log_snr / 2) if log_snr > -1000 else math.inf


class KarrasGrid(_NoiseLevels):
    r"""$\sigma_i = (\sigma_{max}^{1/\rho} + \frac{i}{N-1}(\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho}))^\rho$ for
    i < N, and a last step to $\sigma_N = 0$, where $\sigma = \beta_t/\alpha_t$.

    Arguments:
        rho: 1 makes equal steps of sigma; the larger, the more of them are at low noise.
        sigma_min: The lowest level before the end.
        sigma_max: The level that the first step is chosen by.
        start: The first time.
        end: The last time.

    References:
        Karras et al. 2022, Elucidating the Design Space, equation 5. https://arxiv.org/abs/2206.00364
    """

    def __init__(
        self,
        rho: Annotated[float, Field(gt=0)] = 7.0,
        sigma_min: Annotated[float, Field(gt=0)] = 0.002,
        sigma_max: Annotated[float, Field(gt=0)] = 80.0,
        start: Start = 0.0,
        end: End = 1.0,
    ) -> None:
        super().__init__(sigma_min, sigma_max, start, end)
        self.rho = rho

    def ladder(self, high: float, low: float, u: Tensor) -> Tensor:
        """Equal steps of sigma^(1/rho)."""
        return torch.lerp(u.new_tensor(high ** (1 / self.rho)), u.new_tensor(low ** (1 / self.rho)), u) ** self.rho


class LogSNRGrid(_NoiseLevels):
    r"""Equal steps of the log signal-to-noise ratio $\lambda_t = \log(\alpha_t^2/\beta_t^2) = -2\log\sigma_t$.

    Arguments:
        sigma_min: The lowest level before the end.
        sigma_max: The level that the first step is chosen by.
        start: The first time.
        end: The last time.

    References:
        Lu et al. 2022, DPM-Solver, section 3.3 (their lambda is half of ours).
        https://arxiv.org/abs/2206.00927
    """

    def __init__(
        self,
        sigma_min: Annotated[float, Field(gt=0)] = 0.002,
        sigma_max: Annotated[float, Field(gt=0)] = 80.0,
        start: Start = 0.0,
        end: End = 1.0,
    ) -> None:
        super().__init__(sigma_min, sigma_max, start, end)

    def ladder(self, high: float, low: float, u: Tensor) -> Tensor:
        """Equal steps of log sigma."""
        return torch.lerp(u.new_tensor(math.log(high)), u.new_tensor(math.log(low)), u).exp()
