"""Runge-Kutta methods that choose their steps."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Dynamics, FlowkitError, Generator, Time, UnsupportedError, expand_time

from .runge_kutta import RungeKutta, advance, step_length, weighted_sum

__all__ = ["Adaptive"]

SAFETY, SHRINK, GROW = 0.8, 0.2, 5.0
"""A step is this much of what its error would have allowed, and changes by a factor within these bounds.

A larger SAFETY has more steps rejected; a larger GROW lets steps leap over what a lucky estimate did not see.
"""


class Adaptive(RungeKutta):
    r"""Steps as long as their estimated error allows, $\lVert e / (atol + rtol \max(|x|, |x'|)) \rVert \le 1$ for a
    step from x to x' with error estimate e.

    The norm is the root mean square over a sample, or over the whole batch. A step that fails is tried again, shorter;
    `Dynamics.rejected` counts it, also where it failed for some samples only. The times asked for do not limit the
    steps: states there are interpolated ("dense output"). `step` is a single step of the formula, without control.
    Gradients flow through the steps, whose lengths count as constants.

    Arguments:
        rtol: The error allowed in a step, relative to the state.
        atol: The error allowed in a step where the state is small.
        per_sample: Control each sample on its own. Its path is then the same whatever else is in the batch (up to
            rounding), and every sample meets the tolerance, not the batch on average. The price is evaluations: a
            batch takes as many as its most difficult sample.
        min_step: A failed step is not made shorter than this; solving stops with an error instead.
        max_steps: The same for more steps than this, failed ones included.

    References:
        Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, section II.4.
    """

    evaluates_end = True
    own_steps = True

    def __init__(
        self,
        rtol: Annotated[float, Field(ge=0)] = 1e-5,
        atol: Annotated[float, Field(ge=0)] = 1e-5,
        per_sample: bool = True,
        min_step: Annotated[float, Field(ge=0)] = 1e-9,
        max_steps: Annotated[int, Field(gt=0)] = 10_000,
    ) -> None:
        if rtol == atol == 0:
            raise ValueError("rtol and atol are both 0, which no step can meet: make one of them positive")
        self.rtol, self.atol, self.per_sample = rtol, atol, per_sample
        self.min_step, self.max_steps = min_step, max_steps

    def integrate(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Tensor:
        """The state at the last of `times`; those in between make no difference."""
        points = _one_way(times)
        return super().integrate(dynamics, x, [points[0], points[-1]], generator)

    def trajectory(
        self, dynamics: Dynamics, x: Tensor, times: Sequence[float] | Tensor, generator: Generator | None = None
    ) -> Iterator[Tensor]:
        """The states at `times`, the first being x itself."""
        start, *later = _one_way(times)
        yield x
        if not later or later[-1] == start:
            yield from [x] * len(later)
            return
        end, forwards = later[-1], later[-1] > start
        ahead = deque(time for time in later if time != end)
        found = deque([x] * len(ahead))

        # The times and lengths of steps are float64 on the CPU: shape (batch,) for samples on their own, else ().
        t = torch.full((len(x),) if self.per_sample else (), start, dtype=torch.float64)
        slope = dynamics.drift(x, start)
        length = self._first_length(dynamics, x, slope, t, end)
        steps = 0
        while bool((unfinished := t != end).any()):
            self._check(steps, length[unfinished], t[unfinished], end)
            s = _next_time(t, length, end)
            slopes = self.slopes(dynamics, x, _plain(t), _plain(s), slope)
            dt = step_length(_plain(t), _plain(s), x)
            new = advance(x, dt, self.tableau.b, slopes)
            slopes.append(dynamics.drift(new, _plain(s)))
            error = self._error(x, new, dt, slopes)
            accepted = error <= 1

            for i, time in enumerate(ahead):
                if not bool(_passed(s, time, forwards).any()):
                    break
                inside = accepted & _passed(s, time, forwards) & ~_passed(t, time, forwards)
                if bool(inside.any()):
                    theta = torch.where(inside, (time - t) / (s - t), 0.0)
                    found[i] = _choose(inside, self._between(x, new, dt, slopes, theta), found[i])

            length = (s - t).abs() * _factor(error, self.order)
            x, slope = _choose(accepted, new, x), _choose(accepted, slopes[-1], slope)
            t = torch.where(accepted, s, t)
            dynamics.rejected += not bool(accepted.all())
            steps += 1
            while ahead and bool(_passed(t, ahead[0], forwards).all()):
                ahead.popleft()
                yield found.popleft()
        yield from [x] * later.count(end)

    def _error(self, x: Tensor, new: Tensor, dt: Time, slopes: list[Tensor]) -> Tensor:
        """The estimated error of a step, 1 being what is allowed."""
        with torch.no_grad():
            factor, total = weighted_sum(self.tableau.error, slopes)
            return self._norm((factor * dt) * total, torch.maximum(x.abs(), new.abs()))

    def _norm(self, value: Tensor, size: Tensor) -> Tensor:
        """The root mean square of value / (atol + rtol size). Fetched from the device: the one wait of a step."""
        relative = value / (self.atol + self.rtol * size)
        dtype = torch.promote_types(value.dtype, torch.float32)
        if self.per_sample:
            norm = torch.linalg.vector_norm(relative.flatten(1), dim=1, dtype=dtype) / value[0].numel() ** 0.5
        else:
            norm = torch.linalg.vector_norm(relative, dtype=dtype) / value.numel() ** 0.5
        return norm.cpu().double()

    @torch.no_grad()
    def _first_length(self, dynamics: Dynamics, x: Tensor, slope: Tensor, t: Tensor, end: float) -> Tensor:
        """How long the first step is, from the slope and from how it changes along a short step (page 169 there)."""
        longest = (end - t).abs()
        size, speed = self._norm(x, x.abs()), self._norm(slope, x.abs())
        self._check_resolution(x, size)
        short = torch.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed).minimum(longest)
        s = t + short.copysign(end - t)
        probe = dynamics.drift(advance(x, step_length(_plain(t), _plain(s), x), (1.0,), [slope]), _plain(s))
        bend = self._norm(probe - slope, x.abs()) / short
        steepest = speed.maximum(bend)
        length = torch.where(steepest < 1e-15, (1e-3 * short).clamp(min=1e-6), (0.01 / steepest) ** (1 / self.order))
        return length.minimum(100 * short).minimum(longest)

    def _check_resolution(self, x: Tensor, size: Tensor) -> None:
        resolution = torch.finfo(x.dtype).eps
        if bool((resolution * size > 1).any()):
            raise UnsupportedError(
                f"rtol = {self.rtol:g} with atol = {self.atol:g} is finer than {x.dtype} resolves, which is "
                f"{resolution:.1g} of the state: choose a larger rtol or atol, or states of higher precision"
            )

    def _check(self, steps: int, length: Tensor, t: Tensor, end: float) -> None:
        """Stop where steps lead nowhere. A last step may be short, but the next of the same sample may not."""
        shortest = torch.minimum((end - t).abs(), torch.tensor(self.min_step, dtype=torch.float64))
        if not bool((length >= shortest).all()):
            at = float(t[~(length >= shortest)].min())
            raise FlowkitError(
                f"{type(self).__name__} would need steps shorter than min_step = {self.min_step:g} at t = {at:g}: the "
                f"drift is not finite or not smooth there. Loosen rtol = {self.rtol:g} and atol = {self.atol:g}, end "
                f"before that time, or use fixed steps"
            )
        if steps >= self.max_steps:
            at = float(t[(end - t).abs().argmax()])
            raise FlowkitError(
                f"{type(self).__name__} has taken max_steps = {self.max_steps} steps and is at t = {at:g}, short of "
                f"{end:g}. Loosen rtol = {self.rtol:g} and atol = {self.atol:g}, or raise max_steps"
            )

    def _between(self, x: Tensor, new: Tensor, dt: Time, slopes: list[Tensor], theta: Tensor) -> Tensor:
        """The state at the fraction theta of a step: the cubic Hermite polynomial of both ends, and what it lacks."""
        at = expand_time(theta, x) if theta.ndim else theta.item()
        gain, bump = new - x, at * (1 - at)
        cubic = x + at * gain + bump * ((1 - at) * (dt * slopes[0] - gain) + at * (gain - dt * slopes[-1]))
        if not self.tableau.dense:
            return cubic
        factor, total = weighted_sum(self.tableau.dense, slopes)
        return cubic + (bump * bump * factor * dt) * total


def _one_way(times: Sequence[float] | Tensor) -> list[float]:
    """The times as numbers.

    Raises:
        UnsupportedError: They go forwards and backwards.
    """
    points = torch.as_tensor(times, dtype=torch.float64).tolist()
    if points != sorted(points) and points != sorted(points, reverse=True):
        raise UnsupportedError(f"times should all go one way, up or down; got {points}")
    return points


def _next_time(t: Tensor, length: Tensor, end: float) -> Tensor:
    """Where a step goes. What is left after it is no crumb: the last two steps are equal."""
    left = end - t
    step = torch.where(2 * length > left.abs(), left / 2, length.copysign(left))
    return torch.where(length >= 0.99 * left.abs(), end, t + step)


def _factor(error: Tensor, order: float) -> Tensor:
    """How much longer the next step is: an error of h^order is to become `SAFETY`^order. Not a number: `SHRINK`."""
    return (SAFETY * error.nan_to_num(torch.inf) ** (-1 / order)).clamp(SHRINK, GROW)


def _passed(t: Tensor, time: float, forwards: bool) -> Tensor:
    """Whether t has come as far as `time`."""
    return t >= time if forwards else t <= time


def _plain(t: Tensor) -> Time:
    """One time for all as a number."""
    return t if t.ndim else t.item()


def _choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where the mask is true, else of `old`."""
    if bool(mask.all()):
        return new
    if not bool(mask.any()):
        return old
    return torch.where(mask.to(new.device).reshape(-1, *(1,) * (new.ndim - 1)), new, old)
