"""Another schedule, gone through at another pace."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from flowkit import Schedule

from .straight import CondOT

__all__ = ["Shifted"]


class Shifted(Schedule):
    r"""The schedule at the time $t' = t/(t + m\,(1 - t))$, for images of more pixels than it was made for.

    It stays longer in the noise: in terms of the noise level $\sigma = 1 - t$, which is the time of Stable
    Diffusion 3 and Flux, $\sigma' = m\,\sigma/(1 + (m - 1)\,\sigma)$. For n times as many pixels m is
    $\sqrt n$; the "dynamic shift" mu of Flux is m = e^mu.

    Arguments:
        schedule: What is shifted.
        shift: m; 1 changes nothing.

    References:
        Esser et al. 2024, Scaling Rectified Flow Transformers, equation 23. https://arxiv.org/abs/2403.03206
    """

    def __init__(
        self,
        schedule: Schedule = CondOT(),  # noqa: B008 (schedules are immutable)
        shift: Annotated[float, Field(gt=0)] = 3.0,
    ) -> None:
        self.schedule, self.shift = schedule, shift

    def alpha(self, t: Tensor) -> Tensor:
        """That of the schedule at t'."""
        return self.schedule.alpha(self._time(t)).to(t.dtype)

    def beta(self, t: Tensor) -> Tensor:
        """That of the schedule at t'."""
        return self.schedule.beta(self._time(t)).to(t.dtype)

    def alpha_dot(self, t: Tensor) -> Tensor:
        """That of the schedule at t', times dt'/dt."""
        return (self.schedule.alpha_dot(self._time(t)) * self._pace(t)).to(t.dtype)

    def beta_dot(self, t: Tensor) -> Tensor:
        """That of the schedule at t', times dt'/dt."""
        return (self.schedule.beta_dot(self._time(t)) * self._pace(t)).to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        """That of the schedule at t'."""
        return self.schedule.log_snr(self._time(t)).to(t.dtype)

    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """The time whose t' is that of the schedule."""
        time = self.schedule.time_of_log_snr(log_snr)
        return time * self.shift / (1 - time + self.shift * time)

    def _time(self, t: Tensor) -> Tensor:
        """The time t', in float64 where the device has that: in the type of t it could round to 1, where beta is 0."""
        t = t if t.device.type == "mps" else t.double()
        return t / (t + self.shift * (1 - t))

    def _pace(self, t: Tensor) -> Tensor:
        return self.shift / (t + self.shift * (1 - t)) ** 2
