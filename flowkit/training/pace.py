"""The clock of a training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Pace"]

_SIGN_SECONDS = 0.25


class Pace:
    """How fast training goes, and when it is time for a sign of life.

    Arguments:
        step: Steps done when the clock is started.
    """

    def __init__(self, step: int) -> None:
        self._since = self._shown = time.perf_counter()
        self._step = step

    def steps_per_second(self, step: int) -> float:
        """Since this was asked last, given the steps done now."""
        now = time.perf_counter()
        speed = (step - self._step) / (now - self._since)
        self._since, self._step = now, step
        return speed

    def asks_for_a_sign(self) -> bool:
        """Whether the last one is a moment ago; if so, the next moment begins."""
        now = time.perf_counter()
        if now - self._shown <= _SIGN_SECONDS:
            return False
        self._shown = now
        return True

    @contextmanager
    def halted(self) -> Iterator[None]:
        """What takes its time in here does not count."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._since += time.perf_counter() - began
