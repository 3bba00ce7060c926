"""What several processes must do together when they train one model."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn

from ..config.sections import TrainingSettings
from ..errors import ConfigError, TrainingError

__all__ = [
    "average_gradients",
    "check_plain",
    "check_shardable",
    "check_shares",
    "make_alike",
    "together",
]

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def check_plain(accelerator: Accelerator) -> None:
    """Refuse launches that leave it to Accelerate to cut up weights: their averages and checkpoints are kept here."""
    asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"  # which Accelerate passes over on CPUs
    if asked or accelerator.distributed_type in _SHARDED:
        name = DistributedType.FSDP.value if asked else accelerator.distributed_type.value
        raise ConfigError(
            f"the launch asks for {name}, which training does not support: launch without it, as in `accelerate launch "
            f"--multi_gpu -m flowkit train ...`; with training.shard=true the processes share one copy of the weights "
            f"(FSDP), and without it each holds one (DDP)"
        )
    if accelerator.gradient_accumulation_steps != 1:
        raise ConfigError(
            f"the launch asks for {accelerator.gradient_accumulation_steps} gradient accumulation steps: set "
            f"training.accumulate instead; training.batch_size stays what one optimizer step takes"
        )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()  # a launch that asks for nothing says no
    if precision not in ("no", accelerator.mixed_precision):
        raise ConfigError(
            f"the launch asks for mixed precision {precision}, and training.mixed_precision is "
            f"{accelerator.mixed_precision}: say it there (no, fp16, bf16), not in the launch"
        )


def check_shardable(settings: TrainingSettings) -> None:
    """Refuse what cannot go with weights that are cut over the processes."""
    if settings.compile is True:
        raise ConfigError(
            "training.compile: a step of processes that share weights cannot be compiled: choose it or training.shard"
        )
    if settings.mixed_precision == "fp16":
        raise ConfigError("training.mixed_precision: fp16 does not go with training.shard: take bf16, or no")


def check_shares(batch_size: int, accumulate: int, world: int) -> None:
    """Refuse a batch that cannot be cut into equal shares, and each share into equal pieces."""
    if batch_size % (world * accumulate):
        shares = f"shared by {world} processes" if world > 1 else ""
        pieces = f"cut into {accumulate} pieces (training.accumulate)" if accumulate > 1 else ""
        raise ConfigError(
            f"training.batch_size: {batch_size} cannot be {' and '.join(filter(None, (shares, pieces)))}: take a "
            f"multiple of {world * accumulate}"
        )


@torch.no_grad()
def make_alike(model: nn.Module) -> None:
    """Give every process the weights and buffers of the first.

    Networks of the user's own may have begun differently, and buffers may have gathered what a process saw of the data.
    """
    for value in (*model.parameters(), *model.buffers()):
        value.copy_(broadcast(value.detach()))


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor], accelerator: Accelerator) -> None:
    """Average the gradients of parameters that Accelerate does not look after."""
    for parameter in parameters:
        mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = accelerator.reduce(mine, "mean")


def together(accelerator: Accelerator) -> AbstractContextManager[None]:
    """What fails in here in one process fails in all, lest they wait for it.

    Raises:
        TrainingError: Another process failed.
    """
    return nullcontext() if accelerator.num_processes == 1 else _together()


@contextmanager
def _together() -> Iterator[None]:
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failures = gather_object([failure and f"{type(failure).__name__}: {failure}"])
    if failure is not None:
        raise failure
    for process, reason in enumerate(failures):
        if reason:
            raise TrainingError(f"process {process} failed: {reason}")
