"""The processes that work at one thing together."""

import atexit
import gc
import os
import shlex
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from .errors import ConfigError, FlowkitError, FlowkitWarning

__all__ = ["Processes", "check_devices", "check_launch", "launched"]

_TURN = 5.0
"""Seconds that a process which fails leaves the others to say the same before it."""
_PATIENCE = 60.0
"""Seconds that processes which begin wait for the others without a word."""
_MPI = ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD")
"""What the variables of an MPI launch begin with, in which Accelerate finds rank and size on CPUs."""
_STARTERS = {"SLURM_STEP_NUM_TASKS": "srun"} | {f"{name}_SIZE": "MPI" for name in _MPI}
"""Who starts processes without telling Accelerate, by the variable that says how many. (SLURM_NTASKS is that of a whole
allocation: the script of `sbatch` has it, and a shell, which are alone.)"""
_ON_CPUS = "ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m flowkit ..."
"""A launch of two processes on CPUs, which `accelerate launch` does not start on a machine without MPI."""


@dataclass(frozen=True)
class Processes:
    """Where a process stands among those launched together: by `accelerate launch`, `torchrun`, or MPI on CPUs.

    Arguments:
        rank: The index of this one.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that speaks, and writes what all share."""
        return self.rank == 0

    @cached_property
    def _state(self) -> Any:
        from accelerate import PartialState

        check_devices()
        with _meeting(self.world):
            state = PartialState(cpu=_stays_on_cpu())
        check_launch(state.num_processes)
        return state

    def meet(self) -> None:
        """Wait until every process has begun.

        Raises:
            ConfigError: They cannot work together here.
            FlowkitError: Some have not begun within Accelerate's time limit, half an hour.
        """
        if self.world > 1:
            assert self._state is not None  # the group is made
        else:
            check_devices()
            _check_alone()

    @property
    def device(self) -> str | None:
        """Where the models of this process go; None for one process alone, which may choose."""
        return str(self._state.device) if self.world > 1 else None

    def again(self, command: Sequence[str]) -> str:
        """What starts a command of flowkit in as many processes; those of several machines take the launch they had."""
        if self.world == 1:
            return shlex.join(["flowkit", *command])
        if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) < self.world:
            return f"(launched as before) {shlex.join(['flowkit', *command])}"
        where = "ACCELERATE_USE_CPU=true " if _stays_on_cpu() else ""
        return where + shlex.join(["torchrun", "--nproc_per_node", str(self.world), "-m", "flowkit", *command])

    def take_turn(self) -> None:
        """Wait, before this process says why it fails, until the first has said it, if it fails of the same.

        A launcher ends the other processes of a machine once one has failed, and those that wait here with them: of
        what fails in all, one word is left a machine. What fails here alone is said after the wait.
        """
        is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
        with suppress(KeyboardInterrupt):
            time.sleep(_TURN * ((not self.is_main) + (not is_first_here)))

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.world > 1:
            import torch.distributed as dist

            assert self._state is not None  # the group is made
            dist.barrier()  # Accelerate's names a GPU where there are some, to processes on the CPU too

    def total(self, *numbers: int) -> list[int]:
        """The sum of each number over all processes, which must all come here."""
        if self.world == 1:
            return list(numbers)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(numbers, device=self.device)
        dist.all_reduce(sums)
        totals: list[int] = sums.tolist()
        return totals


def launched() -> Processes:
    """The processes that the launcher has started. Imports neither torch nor accelerate."""
    if "WORLD_SIZE" not in os.environ and _stays_on_cpu():
        for name in _MPI:
            if (world := int(os.environ.get(f"{name}_SIZE", "1"))) > 1:
                return Processes(int(os.environ.get(f"{name}_RANK", "0")), world)
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def _meeting(world: int) -> Iterator[None]:
    """Say in here what is waited for, and who has not come."""
    import torch.distributed as dist

    if _stays_on_cpu() and "MASTER_ADDR" not in os.environ and not dist.is_initialized():
        raise ConfigError(
            f"{world} processes were launched without MASTER_ADDR: set it for all of them, to the address of the first "
            f"one's machine, such as 127.0.0.1 if there is but one"
        )
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    message = f"still waiting for the {world} processes of the launch to meet at {place}"
    notice = threading.Timer(_PATIENCE, warnings.warn, (message, FlowkitWarning))
    notice.daemon = True
    notice.start()
    try:
        yield
    except dist.DistError as error:
        reason = str(error).splitlines()[0]
        raise FlowkitError(f"the {world} processes of the launch did not meet at {place}: {reason}") from error
    finally:
        notice.cancel()


def check_devices() -> None:
    """Refuse to share a GPU: the processes of a machine would wait for one another without end, or fail obscurely.

    Raises:
        ConfigError: More processes were launched on this machine than it has GPUs.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here == 1 or _stays_on_cpu():
        return
    import torch

    if 0 < (gpus := torch.cuda.device_count()) < here:
        raise ConfigError(
            f"{here} processes were launched on this machine, and PyTorch sees {gpus} GPU{'s' * (gpus > 1)}: launch "
            f"one for each, or set ACCELERATE_USE_CPU=true"
        )


def _check_alone() -> None:
    """Refuse to be one of several that think themselves alone, and would train the same run in one folder.

    A shell that `srun --pty` gives is let be, and so is what has WORLD_SIZE=1.
    """
    if not {"WORLD_SIZE", "SLURM_PTY_PORT"}.isdisjoint(os.environ):
        return
    for name, starter in _STARTERS.items():
        if (tasks := os.environ.get(name, "1")).isdigit() and int(tasks) > 1:
            on_cpus = ", or on CPUs set ACCELERATE_USE_CPU=true" if starter == "MPI" else ""
            raise ConfigError(
                f"{starter} started {tasks} processes that know nothing of one another: let it start one a machine, "
                f"with torchrun or accelerate launch in it{on_cpus}; for runs apart, each in its folder, unset {name}"
            )


def check_launch(world: int) -> None:
    """Refuse to be one of several processes that know nothing of one another, and would write to one folder.

    Those that do know are parted when they exit.

    Arguments:
        world: How many processes Accelerate knows of.

    Raises:
        ConfigError: More than that were launched.
    """
    started = launched().world
    if started != world:
        advice = "launch with torchrun" if _stays_on_cpu() else "on a machine without GPUs set ACCELERATE_USE_CPU=true"
        raise ConfigError(f"{started} processes were launched, and Accelerate sees {world}: {advice}")
    if world > 1:
        _part_at_exit()
    elif _several_were_asked_for():
        warnings.warn(
            "one process trains, though `accelerate launch` seems to be asked for several (it sets MASTER_ADDR and no "
            f"WORLD_SIZE): it starts them on GPUs, with --multi_gpu; on CPUs take `{_ON_CPUS}`",
            FlowkitWarning,
            stacklevel=2,
        )


def _several_were_asked_for() -> bool:
    """Whether `accelerate launch` was asked for several processes, and has started one here.

    On CPUs it prepares the others' meeting and leaves it to MPI to start them. The dynamo mode tells of its launch, but
    MASTER_ADDR may be the shell's own, so this is no certainty.
    """
    return {
        "ACCELERATE_DYNAMO_MODE",
        "MASTER_ADDR",
        "MASTER_PORT",
    } <= os.environ.keys() and "WORLD_SIZE" not in os.environ


def _stays_on_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "t", "yes", "y", "on")  # as Accelerate


@cache
def _part_at_exit() -> None:
    """Part from the others before the interpreter goes: threads of gloo that outlive it abort the process."""
    atexit.register(_part)


def _part() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # let go of what was trained in parallel, which refers to the group
