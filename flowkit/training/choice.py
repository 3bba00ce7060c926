"""Whether to compile the training step, decided by timing it both ways while training goes on."""

import statistics
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Clock", "Comparison", "DeviceClock", "HostClock", "StepChoice", "clock_of"]

WARM_UP = 10
"""Steps before any is timed: memory is allocated, and kernels are chosen."""
TIMED = 30
"""Steps whose median counts: close to half of them may be slow by chance."""
COMPILED_WARM_UP = 5
"""The first of the compiled steps compiles, and those after it may compile again."""
TURN = 5
"""Steps of one way before the other has its turn: what else the machine does slows down both alike."""
WORTH_COMPILING = 60.0
"""Seconds of eager steps from which on compiling is tried. It was seen to take 10 to 60 s, some 30 s in the middle, and
the best that it was seen to win is half of every step: so less than twice 30 s cannot win it back."""


@dataclass(frozen=True)
class StepChoice:
    """How the steps of a training are taken, as `training.compile: auto` has decided.

    Arguments:
        compiled: Whether they are compiled.
        why: The reason, with the figures that were measured.
        steps: How many steps the run was to take, if it was their number that decided.
    """

    compiled: bool
    why: str
    steps: int | None = None

    def __str__(self) -> str:
        return f"{'compiled' if self.compiled else 'eager'} steps: {self.why}"


class Clock(ABC):
    """Tells what a step took."""

    @abstractmethod
    def now(self) -> Any:
        """The present point in time; nothing is waited for."""

    @abstractmethod
    def seconds(self, start: Any, end: Any) -> float:
        """Between two points in time, once both have come."""


class HostClock(Clock):
    """The clock of the CPU."""

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """Between both."""
        return end - start


class DeviceClock(Clock):
    """The clock of a CUDA device: when it has come so far in its work. It is waited for where times are read alone."""

    def now(self) -> torch.cuda.Event:
        """An event behind the work that the device was given."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Between both."""
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def clock_of(device: torch.device) -> Clock:
    """The clock that tells what steps on this device take."""
    return DeviceClock() if device.type == "cuda" else HostClock()


STEPS = WARM_UP + TIMED + COMPILED_WARM_UP + 2 * TIMED
"""That a comparison takes at most."""


class Comparison:
    """Times eager steps, and compiled ones if that can pay, and chooses the faster. No step is taken for its sake.

    With the median e of `TIMED` eager steps and n steps left, all that compiling could win is a share of n e: below
    `WORTH_COMPILING` it is not tried. Else the step is compiled, eager and compiled steps take turns, `TIMED` of each,
    and of their medians the smaller is chosen; what it cost to compile is spent by then, and does not count.

    Arguments:
        steps: Of the whole run.
        left: How many of them are to come.
        clock: Tells what a step takes.
    """

    compiled = False
    """Whether the next step is to be a compiled one."""
    choice: StepChoice | None = None
    """What was chosen; None before."""

    def __init__(self, steps: int, left: int, clock: Clock) -> None:
        self._steps, self._left, self._clock = steps, left, clock
        self._laps: list[tuple[Any, Any]] = []
        self._is_worth = False
        if left <= STEPS:
            self._choose(False, f"{left} steps are left, too few to time both ways", steps)

    def begin(self) -> None:
        """A step begins."""
        self._began = self._clock.now()

    def end(self) -> None:
        """It has ended."""
        self._laps.append((self._began, self._clock.now()))
        self._left -= 1
        taken = len(self._laps) - (COMPILED_WARM_UP if self._is_worth else WARM_UP)
        if not self._is_worth and taken == TIMED:
            self._weigh(statistics.median(self._read()[WARM_UP:]))
        elif self._is_worth and taken == 2 * TIMED:
            self._compare(self._read())
        elif self._is_worth and taken >= 0:
            self.compiled = _is_turn_of_compiled(taken)

    def _read(self) -> list[float]:
        """The seconds of the steps so far, which are forgotten."""
        laps, self._laps = self._laps, []
        return [self._clock.seconds(start, end) for start, end in laps]

    def _weigh(self, eager: float) -> None:
        """Whether the steps that are left are worth compiling."""
        total = self._left * eager
        if total >= WORTH_COMPILING:
            self._is_worth = self.compiled = True
            return
        left = f"{self._left:,} steps of {_milliseconds(eager)} are left, {total:.0f} s in all"
        self._choose(False, f"{left}, and compiling does not pay below {WORTH_COMPILING:.0f} s", self._steps)

    def _compare(self, seconds: list[float]) -> None:
        turns = list(enumerate(seconds[COMPILED_WARM_UP:]))
        eager, compiled = (
            statistics.median(lap for i, lap in turns if _is_turn_of_compiled(i) is way) for way in (False, True)
        )
        medians = f"a compiled step takes {_milliseconds(compiled)}, an eager one {_milliseconds(eager)}"
        self._choose(compiled < eager, f"{medians} (compiling took {seconds[0]:.0f} s)")

    def _choose(self, compiled: bool, why: str, steps: int | None = None) -> None:
        self.compiled, self.choice = compiled, StepChoice(compiled, why, steps)


def _is_turn_of_compiled(i: int) -> bool:
    return i // TURN % 2 == 1


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{1e3 * seconds:,.0f} ms"
