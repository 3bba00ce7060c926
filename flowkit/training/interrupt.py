"""Ctrl-C, SIGTERM and the like, held back until a step is whole; how several processes agree to stop after one step."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import Accelerator

__all__ = ["ENOUGH", "Agreement", "Interrupt"]

ENOUGH = int(signal.NSIG)
"""What stands beside the numbers of signals for a training that a callback ends."""

_SECONDS = 3.0
"""How often processes ask one another for signals: a launcher kills 30 seconds after SIGTERM, checkpoint or not."""


_ASKING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
"""What asks a process to end: a person, a cluster, a terminal that closes, a cluster that says so beforehand."""


class Interrupt:
    """Within this context, SIGINT, SIGTERM, SIGHUP and SIGUSR1 set `signal` instead of breaking into a step.

    A second Ctrl-C breaks in all the same. SIGHUP and SIGUSR1 are left to whoever ignores them, such as `nohup`, or
    waits for them; outside the main thread all signals are left alone.
    """

    signal: int | None = None

    def __enter__(self) -> "Interrupt":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in filter(_may_be_held, _ASKING):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


def _may_be_held(number: int) -> bool:
    return number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is signal.SIG_DFL


class Agreement:
    """Processes ask one another for signals, after the same steps: one is often sent to a single process.

    A process cannot ask when its own clock says so, for the others would not answer then. So with each question they
    tell how long their steps took, and the slowest decides after how many the next one comes.

    Arguments:
        accelerator: Of the processes.
        most: Steps of which every multiple is asked after, however fast they are.
        step: How many steps are done.
    """

    def __init__(self, accelerator: Accelerator, most: int, step: int) -> None:
        self._accelerator, self._most = accelerator, most
        self._asked, self._since, self._next = step, time.perf_counter(), step + 1

    def signal(self, step: int, mine: int) -> int:
        """The signal that has come to some process, 0 for none, or if it is not asked after this step.

        Arguments:
            step: How many steps are done.
            mine: The signal that has come to this process.
        """
        if self._accelerator.num_processes == 1:
            return mine
        if step < self._next:
            return 0
        pace = (time.perf_counter() - self._since) / (step - self._asked)
        told = torch.tensor([[float(mine), pace]], device=self._accelerator.device)
        found, slowest = self._accelerator.gather(told).amax(0).tolist()
        self._asked, self._since = step, time.perf_counter()
        soon = max(1, int(_SECONDS / max(slowest, 1e-6)))
        self._next = min(step + soon, step - step % self._most + self._most)
        return int(found)
