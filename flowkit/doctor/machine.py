"""The machine: cores that this process may use, threads, load, devices, disk."""

import math
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, note, ok, problem

__all__ = ["cores", "cpu_quota", "devices", "disk", "load", "usable_cores"]

_ROOM, _LEAST = 2**30, 100 * 2**20
"""Bytes below which a disk is nearly full (pictures and two checkpoints of a middling network), and below which those
of a small one do not fit."""


def usable_cores() -> int:
    """The cores that this process may keep busy: those of the machine, of its affinity, and of its cgroup."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return affine if quota is None else max(1, min(affine, math.ceil(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), member: Path = Path("/proc/self/cgroup")) -> float | None:
    """The cores' worth of time that the control groups of this process allow; None for no limit.

    A group is limited by every group above it. In a container the path may be that of the host, and only the root
    of what is mounted is there to be read.

    Arguments:
        root: Where control groups are mounted.
        member: Lines `id:controllers:path`, the groups that this process is in.
    """
    lines = member.read_text().splitlines() if member.is_file() else []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base = root
        elif "cpu" in controllers.split(","):
            base = root / "cpu"
        else:
            continue
        group = base / path.strip("/")
        limits += [_limit(folder) for folder in (group, *group.parents) if folder.is_relative_to(base)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():  # version 2: "max 100000" or "200000 100000"
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


def cores() -> Iterator[Finding]:
    """Cores, and the threads that torch and flowkit make of them."""
    import torch

    from ..threads import WORTH_SHARING

    there, usable, threads = os.cpu_count() or 1, usable_cores(), torch.get_num_threads()
    fewer = "" if usable == there else f", of which this process may use {usable} (affinity or cgroup)"
    yield ok("cores", f"{there}{fewer}; {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}")
    if threads > usable:
        yield note(
            "threads",
            f"torch uses {threads} threads on {usable} cores, and they wait for one another",
            f"export OMP_NUM_THREADS={usable}",
        )
        return
    if asked := os.environ.get("OMP_NUM_THREADS"):
        yield ok("threads", f"{threads}, with OMP_NUM_THREADS={asked}")
        return
    if threads == 1:
        yield ok("threads", "1")
        return
    yield ok(
        "threads",
        f"{threads}; flowkit uses 1 for a network on the CPU with less than {WORTH_SHARING:,} multiplications a point",
    )


def load() -> Iterator[Finding]:
    """Whether others keep the cores busy that the threads of torch would use."""
    import torch

    if not hasattr(os, "getloadavg"):
        return
    busy, there, threads = os.getloadavg()[0], os.cpu_count() or 1, torch.get_num_threads()
    idle = max(0.0, there - busy)
    text = f"load average {busy:.1f} on {there} cores"
    if threads == 1 or idle >= threads - 0.5:  # half a core is this command itself
        yield ok("load", text)
        return
    yield note(
        "load",
        f"{text} in the last minute: {idle:.1f} were idle, and torch has {threads} threads; after every operation "
        f"they wait for the one that has no core",
        f"export OMP_NUM_THREADS={max(1, int(idle))}, or wait until the machine is idle",
    )


def devices() -> Iterator[Finding]:
    """What a model can be trained on."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _gpu(index)
        return
    if torch.backends.mps.is_available():
        limit = torch.mps.recommended_max_memory() / 2**30
        yield ok("device", f"MPS, {limit:.0f} GiB; sampling takes the CPU unless Pipeline.load(..., device='mps')")
        return
    driver = shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").is_file()
    if torch.version.cuda is None and torch.version.hip is None:
        if driver:
            yield note(
                "device",
                f"there is an NVIDIA driver, and torch {torch.__version__} is built for the CPU alone",
                "install a build with CUDA: https://pytorch.org/get-started/locally",
            )
        else:
            yield ok("device", "the CPU")
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        yield note("device", "the CPU, for CUDA_VISIBLE_DEVICES hides the GPUs", "unset CUDA_VISIBLE_DEVICES")
    else:
        yield note(
            "device",
            f"the CPU: torch {torch.__version__} is built for GPUs and finds none",
            "see whether nvidia-smi lists one, and whether its driver is new enough for this torch; "
            "without a GPU the build for the CPU is smaller",
        )


def _gpu(index: int) -> Finding:
    import torch

    facts = torch.cuda.get_device_properties(index)
    major, minor = facts.major, facts.minor
    topic = f"cuda:{index}"
    try:
        free, _ = torch.cuda.mem_get_info(index)
        torch.ones(2, device=topic).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return problem(
            topic,
            f"{facts.name} (capability {major}.{minor}) does not compute: {reason}",
            f"this torch is built for {', '.join(torch.cuda.get_arch_list()) or 'other devices'}: install a build for "
            f"this GPU, or leave it out with CUDA_VISIBLE_DEVICES",
        )
    bf16 = "with bf16" if major >= 8 else "without bf16: training.mixed_precision=fp16 is the one to use"
    room = f"{free / 2**30:.1f} of {facts.total_memory / 2**30:.1f} GiB free"
    text = f"{facts.name}, {room}, capability {major}.{minor}, {bf16}"
    if free < facts.total_memory / 2:
        return note(topic, text, "others use this GPU (nvidia-smi shows who); CUDA_VISIBLE_DEVICES picks another")
    return ok(topic, text)


def disk(folder: Path) -> Iterator[Finding]:
    """Room where runs go."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield problem("disk", f"{place} cannot be written to", "choose another folder with --out")
        return
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free for runs in {folder}"
    advice = "make room, or choose a folder on another disk with --out"
    if free < _LEAST:
        yield problem("disk", f"{free / 2**20:.1f} MiB free for runs in {folder}", advice)
    elif free < _ROOM:
        yield note("disk", text, advice)
    else:
        yield ok("disk", text)
