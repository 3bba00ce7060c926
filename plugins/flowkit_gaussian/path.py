r"""The Gaussian path $p_t(x|z) = N(\alpha_t z, \beta_t^2 I)$."""

from typing import Any

import torch
from torch import Tensor

from flowkit import Path, Predictor, Quantity, Schedule, Time, expand_time, time_tensor

from .conversion import convert, refuse
from .rescheduled import Rescheduled
from .schedules import CondOT

__all__ = ["GaussianPath"]

_TRACE = 0.1
"""How much data may be left against the noise at t = 0: more than `Schedule` promises, as models are trained on the
chain of Stable Diffusion, which has 0.068."""


class GaussianPath(Path):
    r"""The flow $x_t = \alpha_t z + \beta_t x_0$ with $x_0 \sim N(0, I)$.

    Its conditional velocity and score are

    $$u_t(x|z) = \dot\alpha_t z + \dot\beta_t x_0, \qquad \nabla\log p_t(x|z) = -x_0/\beta_t.$$

    Where beta_1 is not 0 (`ve`, `edm`, `target`, `logit_linear`), the end x_1 is the data point with noise of that
    deviation, not exactly the data; `Quantity.DATA` is then what is asked for. Conversions between velocity, score,
    noise, data and v are in `flowkit_gaussian.conversion`.

    Arguments:
        schedule: alpha_t and beta_t.

    References:
        Lipman et al. 2023, Flow Matching for Generative Modeling, theorem 3. https://arxiv.org/abs/2210.02747
        Albergo et al. 2023, Stochastic Interpolants, section 4.4. https://arxiv.org/abs/2303.08797
    """

    schedule: Schedule

    def __init__(self, schedule: Schedule = CondOT()) -> None:  # noqa: B008 (schedules are immutable)
        self.schedule = schedule

    def sample(self, x0: Tensor, z: Tensor, t: Time, generator: torch.Generator | None = None) -> Tensor:
        """Alpha_t z + beta_t x0, shape (batch, *event)."""
        t = time_tensor(t)
        alpha, beta = self.schedule.alpha(t), self.schedule.beta(t)
        return expand_time(alpha, z) * z + expand_time(beta, z) * x0

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Time) -> Tensor:
        """Alpha_dot_t z + beta_dot_t x0, shape (batch, *event)."""
        t = time_tensor(t)
        alpha_dot, beta_dot = self.schedule.alpha_dot(t), self.schedule.beta_dot(t)
        refuse(alpha_dot.isinf() | beta_dot.isinf(), Quantity.VELOCITY, "a derivative of the schedule is infinite")
        return expand_time(alpha_dot, z) * z + expand_time(beta_dot, z) * x0

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Time) -> Tensor:
        """-x0 / beta_t, shape (batch, *event)."""
        beta = self.schedule.beta(time_tensor(t))
        refuse(beta == 0, Quantity.SCORE, "beta is 0")
        return -x0 / expand_time(beta, x0)

    def start_scale(self, t: float) -> float:
        """beta_0 at 0, and sqrt(alpha_t^2 + beta_t^2) after it: the deviation of p_t for data of variance 1, as models
        are given.
        """
        time = torch.tensor(t, dtype=torch.float64)
        alpha, beta = self.schedule.alpha(time), self.schedule.beta(time)
        return float(torch.hypot(alpha, beta) if t > 0 else beta)

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """Always: each of the five determines the others."""
        return True

    def convert(
        self,
        value: Tensor,
        x: Tensor,
        t: Time,
        given: Quantity,
        wanted: Quantity,
        data_mean: Tensor | float = 0.0,
    ) -> Tensor:
        """Turn one quantity into another; see `flowkit_gaussian.conversion` for the ends. Shape (batch, *event).

        Raises:
            UnsupportedError: The quantity is not determined at this time.
        """
        if given is wanted:
            return value
        return convert(self.schedule, value, x, t, given, wanted, data_mean)

    def reschedule(self, model: Predictor, schedule: Schedule) -> tuple[Predictor, Path]:
        """The fields of the same data under another schedule; see `Rescheduled`."""
        return Rescheduled(model, self.schedule, schedule), GaussianPath(schedule)

    def problems(self, event_shape: tuple[int, ...]) -> list[str]:
        """A schedule that starts with more than a trace of the data, where samples start with none."""
        start = torch.zeros((), dtype=torch.float64)
        alpha, beta = float(self.schedule.alpha(start)), float(self.schedule.beta(start))
        if alpha <= _TRACE * beta:
            return []
        return [
            f"{type(self.schedule).__name__} has alpha = {alpha:.3g} and beta = {beta:.3g} at t = 0, where samples "
            f"start from noise alone: alpha should be at most {_TRACE:g} beta, so let it have more noise"
        ]

    def compatible_source(self, source: Any) -> str | None:
        """Only the standard normal: from any other source the path is not Gaussian."""
        if source.standard_normal:
            return None
        return "a Gaussian path starts from N(0, I): use the source 'gaussian'"
