"""Time and memory of a training run."""

import json
import resource
import sys
import time

import torch

from flowkit import Callback, TrainingState

__all__ = ["FILE", "Meter"]

FILE = "meter.jsonl"


class Meter(Callback):
    """Adds a line to `meter.jsonl` in the run folder each time that training ends.

    It holds the steps done, the seconds on the clock and on the CPU, and the most memory in bytes of the process since
    it began and of a CUDA device.
    """

    def training_started(self, state: TrainingState) -> None:
        """Start the clocks."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._first, self._clock, self._cpu = state.step, time.perf_counter(), time.process_time()

    def training_ended(self, state: TrainingState) -> None:
        """Write down what they say."""
        line = {
            "steps": state.step - self._first,
            "seconds": time.perf_counter() - self._clock,
            "cpu_seconds": time.process_time() - self._cpu,
            "memory": _peak_memory(),
            "gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        }
        with (state.folder / FILE).open("a") as file:
            print(json.dumps(line), file=file)


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
