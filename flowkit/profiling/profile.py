"""Profile: where the time of a step went, as data, as a table and as files."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType

from ..errors import ConfigError
from .ranges import PREFIX, REST, STEP, self_seconds

__all__ = [
    "Operator",
    "Part",
    "Profile",
    "check_count",
    "milliseconds",
    "new_profiler",
    "read_profile",
    "write_profile",
]

_OPERATORS = 12


@dataclass(frozen=True)
class Part:
    """A part of a step.

    Arguments:
        name: What it is.
        seconds: The median over the steps.
        share: Of the medians of all parts, which add up to 1.
    """

    name: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Operator:
    """An operator of torch.

    Arguments:
        name: As torch calls it.
        seconds: What a step spends in it and in no operator that it calls: on the accelerator, if there is one.
        calls: How often a step calls it.
    """

    name: str
    seconds: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a step went.

    Arguments:
        what: What one step is.
        count: How many were profiled.
        seconds: What one takes without the profiler: the median, or the mean on an accelerator.
        profiled_seconds: The median with the profiler, which costs time itself. Parts and operators are of this.
        parts: The parts, in the order in which a step comes to them.
        operators: The operators that take most of it.
        device: Where.
        threads: CPU threads of torch.
        memory: The peak in bytes: what torch held on the GPU, or what this process held; None if not known.
        evaluations: Of the model, for a batch of samples.
    """

    what: str
    count: int
    seconds: float
    profiled_seconds: float
    parts: tuple[Part, ...]
    operators: tuple[Operator, ...]
    device: str
    threads: int
    memory: int | None = None
    evaluations: float | None = None

    @property
    def slowdown(self) -> float:
        """How many times longer a step takes with the profiler."""
        return self.profiled_seconds / self.seconds

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else ""
        cost = f"{self.slowdown - 1:+.0%}" if self.slowdown > 1 else "it costs less than these times scatter"
        lines = [
            f"{self.what} on {self.device}{threads}: {milliseconds(self.seconds)} ms, {1 / self.seconds:.3g} a second",
            f"with the profiler {milliseconds(self.profiled_seconds)} ms ({cost}), as below: "
            f"medians of {self.count}, operators on average",
            "",
            f"{'part':<24}{'ms':>9}{'share':>8}",
            *(f"{part.name:<24}{milliseconds(part.seconds):>9}{part.share:>8.1%}" for part in self.parts),
            "",
            f"{'operator':<44}{'self ms':>9}{'calls':>8}",
            *(f"{op.name[:43]:<44}{milliseconds(op.seconds):>9}{op.calls:>8.4g}" for op in self.operators),
        ]
        if self.evaluations is not None:
            lines += ["", f"{self.evaluations:.4g} evaluations of the model"]
        if self.memory is not None:
            lines += ["", f"memory  {self.memory / 2**20:.0f} MiB at the peak"]
        return "\n".join(lines)


def check_count(what: str, count: int) -> None:
    """Refuse to profile nothing."""
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"{what} should be a whole number of at least 1; got {count!r}")


def milliseconds(seconds: float) -> str:
    """To three figures."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def new_profiler(device: torch.device, steps: int, warm_up: int) -> torch.profiler.profile:
    """The profiler of torch, for some steps after a warm-up; call its `step` after each."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    plan = torch.profiler.schedule(wait=0, warmup=warm_up, active=steps, repeat=1)
    return torch.profiler.profile(activities=activities, schedule=plan, acc_events=True)


def read_profile(
    profiler: torch.profiler.profile,
    what: str,
    names: Sequence[str],
    plain: Sequence[float],
    device: torch.device,
    evaluations: float | None = None,
    threads: int = 1,
) -> Profile:
    """What a profiler has seen.

    Arguments:
        profiler: After its last step.
        what: What one step is.
        names: The parts, in order.
        plain: Seconds of steps without it.
        device: Where they ran.
        evaluations: Of the model, in one step.
        threads: CPU threads they ran on.
    """
    ours = [
        (event.name, event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.name.startswith((PREFIX, STEP)) and event.device_type == DeviceType.CPU
    ]
    steps = self_seconds(ours)
    medians = {name: statistics.median(step.get(name, 0.0) for step in steps) for name in (*names, REST)}
    total = sum(medians.values())
    present = {part for step in steps for part in step}
    return Profile(
        what=what,
        count=len(steps),
        seconds=statistics.median(plain),
        profiled_seconds=statistics.median(sum(step.values()) for step in steps),
        parts=tuple(Part(name, value, value / total) for name, value in medians.items() if name in present),
        operators=_operators(profiler, len(steps), on_device=device.type == "cuda"),
        device=str(device),
        threads=threads,
        memory=_memory_peak(device),
        evaluations=evaluations,
    )


def _operators(profiler: torch.profiler.profile, steps: int, on_device: bool) -> tuple[Operator, ...]:
    found = [
        Operator(
            event.key,
            (event.self_device_time_total if on_device else event.self_cpu_time_total) / 1e6 / steps,
            event.count / steps,
        )
        for event in profiler.key_averages()
        if not event.key.startswith((PREFIX, STEP, "Optimizer."))
        and event.device_type == DeviceType.CPU  # a kernel's time is that of the operator that started it as well
    ]
    return tuple(sorted(found, key=lambda operator: -operator.seconds)[:_OPERATORS])


def _memory_peak(device: torch.device) -> int | None:
    """The most memory in use so far, in bytes: on the GPU by torch, or else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_profile(found: Profile, profiler: torch.profiler.profile, folder: Path) -> None:
    """`trace.json`, for chrome://tracing or ui.perfetto.dev, and `profile.png`."""
    from .picture import draw_profile

    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    draw_profile(found, folder / "profile.png")
