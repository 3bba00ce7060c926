r"""Parts of which everything is known, so that a check needs no plugin: one schedule, its path, and one Gaussian."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..conditions import Condition
from ..errors import UnsupportedError
from ..interfaces.diffusion import DiffusionCoefficient
from ..interfaces.path import Path
from ..interfaces.predictor import Predictor
from ..interfaces.quantity import Quantity
from ..interfaces.schedule import Schedule
from ..shapes import Time, expand_time
from .check import NotApplicable, Subject

__all__ = [
    "DTYPES",
    "LIMIT",
    "ExactNetwork",
    "NormalField",
    "ReferencePath",
    "ReferenceSchedule",
    "WavingDiffusion",
    "derivative",
    "path_for",
    "standard_error",
]

DTYPES = (torch.float64, torch.float32, torch.bfloat16)

LIMIT = 5.0
"""Standard errors that a mean may be off: by chance 6e-7, and seeds are fixed."""


class ReferenceSchedule(Schedule):
    r"""A quarter turn: $\alpha_t = \sin(\pi t/2)$, $\beta_t = \cos(\pi t/2)$."""

    def alpha(self, t: Tensor) -> Tensor:
        """Sine of the angle."""
        return torch.sin(t * (math.pi / 2))

    def beta(self, t: Tensor) -> Tensor:
        """Cosine of the angle, 0 at t = 1 exactly."""
        return torch.sin((1 - t) * (math.pi / 2))

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.beta(t) * (math.pi / 2)

    def beta_dot(self, t: Tensor) -> Tensor:
        """Its derivative."""
        return self.alpha(t) * (-math.pi / 2)


class ReferencePath(Path):
    r"""$x_t = \alpha_t z + \beta_t x_0$ on the reference schedule; conversions inside (0, 1) only."""

    schedule: Schedule

    def __init__(self) -> None:
        self.schedule = ReferenceSchedule()

    def sample(self, x0: Tensor, z: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Alpha_t z + beta_t x0."""
        return expand_time(self.schedule.alpha(t), z) * z + expand_time(self.schedule.beta(t), z) * x0

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Its derivative."""
        return expand_time(self.schedule.alpha_dot(t), z) * z + expand_time(self.schedule.beta_dot(t), z) * x0

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """-x0 / beta_t."""
        if bool((self.schedule.beta(t) == 0).any()):
            raise UnsupportedError("there is no score at t = 1, where beta is 0")
        return -x0 / expand_time(self.schedule.beta(t), x0)

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """All five determine each other."""
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
        """By Cramer's rule from x = alpha D + beta N and value = g_D D + g_N N."""
        if given is wanted:
            return value
        time = torch.as_tensor(t, dtype=torch.float64)
        if bool(((time <= 0) | (time >= 1)).any()):
            raise UnsupportedError("the reference path converts inside (0, 1) only")
        alpha, beta = self.schedule.alpha(time), self.schedule.beta(time)
        (g_data, g_noise), (w_data, w_noise) = self._row(given, time), self._row(wanted, time)
        determinant = alpha * g_noise - beta * g_data
        of_x = (w_data * g_noise - w_noise * g_data) / determinant
        of_value = (alpha * w_noise - beta * w_data) / determinant
        return expand_time(of_x, x) * x + expand_time(of_value, x) * value

    def _row(self, quantity: Quantity, t: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of D and N in a quantity."""
        schedule, zero, one = self.schedule, torch.zeros_like(t), torch.ones_like(t)
        return {
            Quantity.DATA: (one, zero),
            Quantity.NOISE: (zero, one),
            Quantity.SCORE: (zero, -1 / schedule.beta(t)),
            Quantity.V: (-schedule.beta(t), schedule.alpha(t)),
            Quantity.VELOCITY: (schedule.alpha_dot(t), schedule.beta_dot(t)),
        }[quantity]


class NormalField(Predictor):
    r"""The marginal fields of a Gaussian path for data $N(\mathrm{mean}, \mathrm{std}^2 I)$.

    With $v = \alpha^2 \mathrm{std}^2 + \beta^2$ and $g = (x - \alpha\,\mathrm{mean})/v$: the score is -g, the noise
    $\beta g$, the data mean + $\alpha\,\mathrm{std}^2 g$.

    Arguments:
        mean: Of the data, in every element.
        std: Their deviation; 0 for a single point.
        only: The quantities that it gives; all where left out.
        schedule: That of the path; the reference where left out.
    """

    def __init__(
        self,
        mean: float = 1.0,
        std: float = 0.5,
        only: tuple[Quantity, ...] = tuple(Quantity),
        schedule: Schedule | None = None,
    ) -> None:
        self.mean, self.std, self.only = mean, std, only
        self.schedule = schedule or ReferenceSchedule()
        self.seen: list[Tensor] = []

    def can_predict(self, wanted: Quantity) -> bool:
        """Those it gives."""
        return wanted in self.only

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """In float64; the times that it is asked at are kept in `seen`."""
        for quantity in wanted:
            if quantity not in self.only:
                raise UnsupportedError(f"the {quantity.value} was asked for")
        time = torch.as_tensor(t, dtype=torch.float64)
        self.seen.append(time)
        schedule, state = self.schedule, x.double()
        alpha, beta = expand_time(schedule.alpha(time), state), expand_time(schedule.beta(time), state)
        slope = (state - alpha * self.mean) / (alpha**2 * self.std**2 + beta**2)
        data, noise = self.mean + alpha * self.std**2 * slope, beta * slope
        alpha_dot, beta_dot = expand_time(schedule.alpha_dot(time), state), expand_time(schedule.beta_dot(time), state)
        fields = {
            Quantity.DATA: data,
            Quantity.NOISE: noise,
            Quantity.SCORE: -slope,
            Quantity.V: alpha * noise - beta * data,
            Quantity.VELOCITY: alpha_dot * data + beta_dot * noise,
        }
        return tuple(fields[quantity].to(x.dtype) for quantity in wanted)

    def moments(self, t: float) -> tuple[float, float]:
        """The mean and the deviation of each element of x_t."""
        time = torch.tensor(t, dtype=torch.float64)
        alpha, beta = float(self.schedule.alpha(time)), float(self.schedule.beta(time))
        return alpha * self.mean, math.hypot(alpha * self.std, beta)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """Where the sampling ODE carries x from time t to s."""
        (mean, std), (mean_s, std_s) = self.moments(t), self.moments(s)
        return mean_s + std_s / std * (x - mean)


class WavingDiffusion(DiffusionCoefficient):
    """sigma_t = 1/2 + sin 2t."""

    def sigma(self, t: float, path: Path) -> float:
        """Nowhere 0."""
        return 0.5 + math.sin(2 * t)


class ExactNetwork(nn.Module):
    """Returns exact fields, side by side, with numbers of its own for every sample added: `offsets` and times x.

    The gradient of a loss in these numbers is, sample by sample, that in the coefficients of a linear network.
    """

    def __init__(self, field: NormalField, quantities: tuple[Quantity, ...]) -> None:
        super().__init__()
        self.field, self.quantities = field, quantities
        self.offsets: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """Shape (batch, k * event[0], *event[1:]) for k quantities."""
        exact = torch.cat(self.field.predict(x, t, y, self.quantities), dim=1)
        self.offsets = [torch.zeros_like(exact, requires_grad=True) for _ in range(4)]
        states, time = torch.cat([x] * len(self.quantities), dim=1), expand_time(t, x)
        constant, slope, drift, bend = self.offsets
        return exact + constant + states * slope + time * drift + states * time * bend


def path_for(subject: Subject) -> Path:
    """A path that the component goes with: the reference, or the first of the registry that it does not refuse."""
    refused: list[str] = []
    for path in (ReferencePath(), *_registered_paths(subject)):
        problems = subject.component.problems(path)
        if not problems:
            return path
        refused = refused or problems
    raise NotApplicable(f"it goes with no path at hand: {'; '.join(refused)}")


def derivative(function: Any, t: Tensor, h: float = 1e-3) -> Tensor:
    """df/dt by central differences: off by h^4 / 30 of the fifth derivative and by rounding over h, in float64."""
    return (8 * (function(t + h) - function(t - h)) - (function(t + 2 * h) - function(t - 2 * h))) / (12 * h)


def standard_error(values: Tensor) -> Tensor:
    """That of the mean over the first axis."""
    return values.std(0) / math.sqrt(len(values))


def _registered_paths(subject: Subject) -> Iterator[Path]:
    for entry in subject.registry.of_kind("path"):
        try:
            yield subject.registry.load(entry)()
        except Exception:  # one that does not load or needs settings is no help here
            continue
