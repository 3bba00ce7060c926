"""Methods that interpolate D through earlier evaluations."""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from flowkit import Dynamics, Generator

from .exponential import ExponentialIntegrator, Grid

__all__ = ["Multistep"]


class _Step(NamedTuple):
    """One step in numbers: x_s = decay x_t + sum_j weights_j D_j, the newest D first."""

    end: float
    decay: float
    predictor: list[float]
    corrector: list[float]
    """Over D at the predicted end and those before; empty for no correction."""

    def combine(self, weights: list[float], x: Tensor, history: Iterable[Tensor]) -> Tensor:
        x = self.decay * x
        for weight, data in zip(weights, history, strict=False):
            x = x + weight * data
        return x


class Multistep(ExponentialIntegrator):
    r"""One evaluation a step: $x_s = (\beta_s/\beta_t) x_t + \alpha_s \sum_j w_j D_j$ with the latest D.

    A subclass says the weights for a step of length h through the `points`, which are the lambdas of the latest
    evaluations less lambda_t, newest first: 0, and up to `memory` - 1 negative ones (backwards, positive). At the
    beginning there are fewer, and where h is infinite there is 0 alone. The weights of all steps are computed before
    the first one.

    A method with a corrector goes over a step again with D at the end that it predicted. This D is the next step's,
    so the evaluations stay one a step; the last step of all is not corrected.
    """

    memory: int
    """How many evaluations a predictor uses."""

    @abstractmethod
    def predictor(self, points: list[float], h: float) -> list[float]:
        """The weights of D at `points`, which sum to 1 - exp(-h)."""

    def corrector(self, points: list[float], h: float) -> list[float]:
        """The weights of D at h and at `points`, or none."""
        del points, h
        return []

    def trajectory(
        self,
        dynamics: Dynamics,
        x: Tensor,
        times: Sequence[float] | Tensor,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `times`, which rise or fall."""
        grid = self.grid(dynamics, times)
        steps = list(self._steps(grid))
        yield x
        if not steps:
            return
        *inner, last = steps
        data, x = self.begin(dynamics, x, grid)
        history = deque([data], maxlen=self.memory + 1)
        for step in inner:
            ahead = step.combine(step.predictor, x, history)
            history.extendleft(dynamics.predict(ahead, step.end, self.needs))
            x = step.combine(step.corrector, x, history) if step.corrector else ahead
            yield x
        yield last.combine(last.predictor, x, history)

    def _steps(self, grid: Grid) -> Iterator[_Step]:
        for i, h in enumerate(grid.lengths()):
            alpha = grid.alpha[i + 1]
            if math.isfinite(h):
                points = self._points(grid, i)
                predictor = [alpha * weight for weight in self.predictor(points, h)]
            else:
                points, predictor = [0.0], [grid.constant_weight(i)]
            # From data to noise a step with an infinite end is not corrected: beta is 0 there, or the step is the last.
            corrects = math.isfinite(h) or grid.times[i + 1] > grid.times[i]
            corrector = [alpha * weight for weight in self.corrector(points, h)] if corrects else []
            yield _Step(grid.times[i + 1], grid.decay(i), predictor, corrector)

    def _points(self, grid: Grid, i: int) -> list[float]:
        latest = grid.log_ratio[max(0, i + 1 - self.memory) : i + 1]
        return [point - grid.log_ratio[i] for point in reversed(latest) if math.isfinite(point)]
