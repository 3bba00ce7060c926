"""Measured in about a second: what several threads give here, and how fast matrices are multiplied."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import torch
from torch import nn

from .finding import Finding, note, ok

__all__ = ["measured", "speed"]

_SIDE = 512
_SIDE_ON_GPU = 4096
_SECONDS = 0.2
"""For each comparison."""
_LOST = 1.2
"""How many times slower one choice must be than another to be worth a word: medians of a busy machine scatter."""


def speed() -> Iterator[Finding]:
    """One training step of a small network and products of matrices, on one thread and on all."""
    several = torch.get_num_threads()
    counts = sorted({1, several})
    steps, products = measured(_training_step(), counts), measured(_product(_SIDE, torch.float32), counts)
    yield _small_step(steps, several)
    yield _matmul(products, several)
    single, half = (
        measured(_product(_SIDE // 2, dtype), [several])[several] for dtype in (torch.float32, torch.bfloat16)
    )
    yield _bf16(single, half)
    if torch.cuda.is_available():
        yield _gpu_rates()


def measured(run: Callable[[], object], thread_counts: Iterable[int]) -> dict[int, float]:
    """Median seconds of `run` on each number of threads, in turns, so that a busy moment spoils both alike."""
    before, found = torch.get_num_threads(), {count: list[float]() for count in thread_counts}
    end = time.perf_counter() + _SECONDS
    try:
        while time.perf_counter() < end or any(len(seconds) < 3 for seconds in found.values()):
            for count, seconds in found.items():
                torch.set_num_threads(count)
                run()  # the threads come to life
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return {count: statistics.median(seconds) for count, seconds in found.items()}


def _training_step() -> Callable[[], None]:
    """A step of AdamW on four layers of width 128 with 256 points of the plane."""
    generator = torch.Generator().manual_seed(0)
    sizes = [3, 128, 128, 128, 2]
    layers = [torch.randn(a, b, generator=generator) / a**0.5 for a, b in pairwise(sizes)]
    weights = [nn.Parameter(layer) for layer in layers]
    x = torch.randn(256, 3, generator=generator)
    optimizer = torch.optim.AdamW(weights, fused=True)

    def step() -> None:
        h = x
        for weight in weights:
            h = nn.functional.silu(h @ weight)
        h.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _product(side: int, dtype: torch.dtype, device: str = "cpu") -> Callable[[], None]:
    a = torch.ones(side, side, dtype=dtype, device=device)

    def product() -> None:
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()

    return product


def _small_step(seconds: dict[int, float], several: int) -> Finding:
    text = ", ".join(f"{1e3 * time:.2f} ms on {_threads(count)}" for count, time in seconds.items())
    if several > 1:
        one_wins = seconds[1] < seconds[several]
        text += f": {_threads(1 if one_wins else several)} {'is' if one_wins else 'are'} faster"
    return ok("small step", text)


def _matmul(seconds: dict[int, float], several: int) -> Finding:
    text = ", ".join(f"{_giga(_SIDE, time):.0f} GFLOP/s on {_threads(count)}" for count, time in seconds.items())
    if seconds[several] > _LOST * seconds[1]:
        return note(
            "matmul",
            f"{text}: the threads wait for one another, and large networks suffer",
            "export OMP_NUM_THREADS=1 while the machine is busy",
        )
    return ok("matmul", text)


def _bf16(single: float, half: float) -> Finding:
    if half > _LOST * single:
        return ok(
            "bf16", f"{half / single:.1f} times slower than float32 on this CPU: training.mixed_precision=no is best"
        )
    return ok("bf16", f"{single / half:.1f} times as fast as float32 on this CPU")


def _gpu_rates() -> Finding:
    rates = {
        dtype: _giga(
            _SIDE_ON_GPU, measured(_product(_SIDE_ON_GPU, dtype, "cuda"), [torch.get_num_threads()]).popitem()[1]
        )
        for dtype in (torch.float32, torch.bfloat16)
    }
    text = ", ".join(
        f"{rate / 1e3:.0f} TFLOP/s in {str(dtype).removeprefix('torch.')}" for dtype, rate in rates.items()
    )
    return ok("matmul", f"cuda:0: {text}")


def _giga(side: int, seconds: float) -> float:
    """Billions of additions and multiplications a second in a product of two square matrices."""
    return 2 * side**3 / seconds / 1e9


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
