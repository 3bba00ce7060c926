"""What every time grid must do."""

import torch

from .check import CheckList, Subject, require
from .reference import path_for

__all__ = ["CHECKS"]

CHECKS = CheckList()

_STEPS = (1, 2, 7, 50, 1000)


@CHECKS.add(hint="times are kept in float64 on the CPU: samplers turn them into numbers")
def is_float64_on_the_cpu(subject: Subject) -> None:
    """The times are a float64 tensor of one axis, on the CPU."""
    times = subject.component.times(4, path_for(subject))
    require(isinstance(times, torch.Tensor), f"times is a {type(times).__name__}")
    require(times.dtype == torch.float64, f"times are {times.dtype}")
    require(
        times.device.type == "cpu" and times.ndim == 1, f"times are of shape {tuple(times.shape)} on {times.device}"
    )


@CHECKS.add(hint="N steps have N + 1 times: linspace(..., steps + 1)")
def has_a_time_more_than_steps(subject: Subject) -> None:
    """`steps` steps have steps + 1 times, from one step on; or always the same, where they are the grid's settings."""
    path = path_for(subject)
    found = {steps: len(subject.component.times(steps, path)) for steps in _STEPS}
    fixed = len(set(found.values())) == 1 and found[1] >= 2
    for steps, times in found.items():
        require(fixed or times == steps + 1, f"{steps} steps have {times} times instead of {steps + 1}")


@CHECKS.add(hint="rounding makes very short steps equal to 0: space them further apart, or compute them otherwise")
def increases_strictly(subject: Subject) -> None:
    """Every time is later than the one before."""
    path = path_for(subject)
    for steps in _STEPS:
        times = subject.component.times(steps, path)
        still = times.diff() <= 0
        require(
            not bool(still.any()),
            f"with {steps} steps, t = {times[1:][still][:3].tolist()} is not after the one before",
        )


@CHECKS.add(hint="time runs from 0 (noise) to 1 (data)")
def stays_inside(subject: Subject) -> None:
    """All times are in [0, 1]."""
    path = path_for(subject)
    for steps in _STEPS:
        times = subject.component.times(steps, path)
        low, high = float(times.min()), float(times.max())
        require(low >= 0 and high <= 1, f"with {steps} steps, times go from {low:.17g} to {high:.17g}")


@CHECKS.add(hint="make a new tensor each time, and nothing by chance")
def is_the_same_every_time(subject: Subject) -> None:
    """Asked twice, it gives the same times, even after the first were written to."""
    path = path_for(subject)
    first = subject.component.times(5, path)
    kept = first.clone()
    first.zero_()
    require(torch.equal(subject.component.times(5, path), kept), "asked again, it gives other times")
