"""The training loop, on Accelerate."""

import math
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn

from ..conditions import Condition
from ..config.sections import TrainingSettings
from ..errors import CheckpointError, ConfigError, FlowkitWarning, TrainingError, TrainingInterrupted
from ..interfaces.callback import Callback, TrainingState
from ..interfaces.coupling import Coupling
from ..interfaces.data import DataSource
from ..interfaces.loss import Loss
from ..interfaces.source import Source
from ..model import Model
from ..plugins import PluginManager, installed_plugins
from ..processes import check_launch
from ..random import derive_seed
from ..threads import suitable_threads
from .batches import Batches
from .checkpoint import Checkpoint, usable_checkpoint
from .compiled import CompiledStep, check_compiler
from .ema import EMA
from .hooks import TrainingHooks
from .interrupt import Interrupt
from .pairs import Pairs, PairsState
from .update import FusedUpdate
from .writer import CheckpointWriter

__all__ = ["Trainer"]

_PROGRESS_SECONDS = 0.25
_OF_LOSS = "loss/"
"""Before the names of what a loss keeps; every process has its own, beside its random states."""
_UNSHARDED = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class Trainer:
    """Trains a model: data -> coupling -> path -> loss, one optimizer step after another.

    Arguments:
        model: What is trained.
        loss: What it regresses.
        data: Where z comes from.
        source: Where x0 comes from.
        coupling: Which goes with which.
        settings: How long, how fast.
        folder: The run folder, for checkpoints.
        callbacks: What watches.
        facts: What `state.json` must hold beside the step, to build the model again.
        config: What `config.yaml` holds, for the hooks of plugins.
        plugins: Whose hooks are called; the installed plugins by default.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        data: DataSource,
        source: Source,
        coupling: Coupling,
        settings: TrainingSettings,
        folder: Path,
        callbacks: Sequence[Callback] = (),
        facts: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        plugins: PluginManager | None = None,
    ) -> None:
        AcceleratorState._reset_state()  # another training in this process may have had another precision
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        check_launch(world)
        if settings.batch_size % world:
            raise ConfigError(f"training.batch_size: {settings.batch_size} cannot be shared by {world} processes")
        device = self.accelerator.device
        self.model, self.loss = model.to(device), loss
        self.settings, self.folder, self.facts = settings, folder, dict(facts or {})
        is_main = self.accelerator.is_main_process
        self.callbacks = list(callbacks) if is_main else []
        self.config = dict(config or {})
        self.hooks = TrainingHooks(plugins or installed_plugins(), model, folder, settings.steps, is_main)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.ema = EMA(self.parameters, settings.ema_decay)
        self._network = model.network
        # Accelerate's own versions are for loss scaling and sharding; without those they only cost time.
        self._plain = self.accelerator.scaler is None and self.accelerator.distributed_type in _UNSHARDED
        self._backward: Callable[[Tensor], None] = Tensor.backward if self._plain else self.accelerator.backward
        self._fused: FusedUpdate | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        if self._plain and device.type in ("cpu", "cuda"):
            self._fused = FusedUpdate(self.parameters, settings.gradient_clip, settings.weight_decay)
        else:
            self.optimizer = torch.optim.AdamW(
                self.parameters,
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                fused=device.type in ("cpu", "cuda", "mps") or None,
            )
        self._compiled = self._compile() if settings.compile else None
        self._clip = nn.utils.clip_grad_norm_ if self._plain else self.accelerator.clip_grad_norm_
        dtype = next((p.dtype for p in self.parameters), torch.float32)
        batches = Batches(data, settings.batch_size, derive_seed(settings.seed, 1), device, dtype, rank, world)
        self.generator = torch.Generator(device).manual_seed(derive_seed(settings.seed, 2, rank))
        of_pairs = self.generator
        if coupling.ahead:  # pairs are drawn while a step runs, which has draws of its own
            of_pairs = torch.Generator(device).manual_seed(derive_seed(settings.seed, 4, rank))
        self.pairs = Pairs(batches, source, coupling, of_pairs, settings.condition_dropout)
        self.step = 0
        self._rate = 0.0
        self._losses: list[Tensor] = []  # on the device
        self._unlogged: list[float] = []  # fetched
        self._last_good: Checkpoint | None = None
        self._writer = CheckpointWriter(folder, settings.keep_checkpoints)

    def fit(self, resume: bool = False) -> None:
        """Train to the last step, then leave the averaged weights in the model.

        Arguments:
            resume: Go on from the newest checkpoint of the run folder.

        Raises:
            TrainingError: The loss is no longer a number. The last good checkpoint stays.
            TrainingInterrupted: A signal came; the checkpoint of that step is written.
        """
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices), suitable_threads(self.model), Interrupt() as interrupt:
            torch.manual_seed(derive_seed(self.settings.seed, 3, self.accelerator.process_index))
            if resume and (checkpoint := usable_checkpoint(self.folder)):
                self._restore(checkpoint)
            if self.optimizer is None:
                prepared = self.accelerator.prepare(self._network)
            else:
                prepared, optimizer = self.accelerator.prepare(self._network, self.optimizer)
                self.optimizer = self.optimizer if self._plain else optimizer
            self.model.network = prepared
            state = TrainingState(self.model, self.folder, self.step, self.settings.steps, [])
            self._tell("training_started", state)
            try:
                with self.pairs, self._writer:
                    self.hooks.started(self.step, self.config)
                    self._loop(state, interrupt)
            except BaseException as error:
                self._end(state, prepared, error)
                raise
            self._end(state, prepared, None)
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.ema.averages, strict=True):
                parameter.copy_(average)
        self.model.eval()
        if interrupt.signal is not None:  # it came when nothing was left to interrupt here
            signal.raise_signal(interrupt.signal)

    def _end(self, state: TrainingState, prepared: nn.Module, error: BaseException | None) -> None:
        self.model.network = self.accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
        self._tell("training_ended", state)
        self.hooks.ended(self.step, error)

    def _loop(self, state: TrainingState, interrupt: Interrupt) -> None:
        settings = self.settings
        self.model.train()
        logged_at, logged_step = time.perf_counter(), self.step
        shown_at = logged_at
        while self.step < settings.steps:
            self._losses.append(self._train_step(*next(self.pairs)))
            self.step += 1
            self.hooks.step_ended(self.step, self._losses[-1], self._rate)
            last = self.step == settings.steps
            now = time.perf_counter()
            if last or self.step % settings.log_every == 0:
                self._fetch_losses()
                state.step, state.losses, self._unlogged = self.step, self._unlogged, []
                state.steps_per_second = (self.step - logged_step) / (now - logged_at)
                state.learning_rate = self._rate
                self._tell("logged", state)
                logged_at, logged_step = now, self.step
            if now - shown_at > _PROGRESS_SECONDS:
                state.step, shown_at = self.step, now
                self._tell("progressed", state)
            stopped = 0 if last else self._stop_signal(interrupt)
            saving = last or stopped or self.step % settings.checkpoint_every == 0
            self._note_written(state, wait=bool(saving))
            if saving:
                self._save()
            if last or stopped:
                self._note_written(state, wait=True)
                self.accelerator.wait_for_everyone()
            if stopped:
                raise TrainingInterrupted(
                    f"stopped at step {self.step} of {settings.steps}; {self._checkpoint} holds everything to go on",
                    stopped,
                )

    def _train_step(self, x0: Tensor, z: Tensor, y: Condition) -> Tensor:
        self._rate = self._learning_rate()
        if self._compiled is not None:
            try:
                return self._compiled(x0, z, y, self._rate, self.ema.weight(self.step + 1))
            except Exception as error:
                self._give_up_compiling(self._compiled, error)
        loss = self.loss(self.model, x0, z, y, self.generator).mean()
        self._backward(loss)
        if self._fused is not None:
            self._fused(self._rate)
        else:
            self._update()
        self.ema.update(self.step + 1)
        return loss.detach()

    def _compile(self) -> CompiledStep:
        if self._fused is None or self.accelerator.num_processes > 1 or self.settings.mixed_precision != "no":
            raise ConfigError(
                "training.compile: works in one process, on a CPU or a CUDA device, without mixed precision"
            )
        check_compiler()
        return CompiledStep(self.model, self.loss, self._fused, self.ema)

    def _give_up_compiling(self, compiled: CompiledStep, error: Exception) -> None:
        """Go on without, if it was the compiler that failed; an error of the step itself comes up again there."""
        if compiled.has_run:
            raise error
        self._compiled = None
        reason = " ".join(str(error).split())[:300]
        warnings.warn(
            f"training.compile: this step cannot be compiled and runs as it is: {type(error).__name__}: {reason}",
            FlowkitWarning,
            stacklevel=2,
        )

    def _update(self) -> None:
        if self.settings.gradient_clip is not None:
            self._clip(self.parameters, self.settings.gradient_clip)
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _learning_rate(self) -> float:
        settings = self.settings
        rate = settings.learning_rate * min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        if settings.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / settings.steps))
        return rate

    def _stop_signal(self, interrupt: Interrupt) -> int:
        """The signal to stop at, 0 for none. Processes agree on it, for all of them must stop at one step."""
        if self.accelerator.num_processes == 1:
            return interrupt.signal or 0
        if self.step % self.settings.log_every:
            return 0
        mine = torch.tensor([interrupt.signal or 0], device=self.accelerator.device)
        return int(self.accelerator.gather(mine).max())

    def _fetch_losses(self) -> None:
        """Fetch the losses since the last time, averaged over processes; the one place that waits for the device."""
        if not self._losses:
            return
        losses = self.accelerator.reduce(torch.stack(self._losses).float(), "mean").tolist()
        self._losses = []
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                self._stop_at_bad_loss(self.step - len(losses) + i + 1, f"the loss became {loss}")
        self._unlogged += losses

    def _stop_at_bad_loss(self, step: int, what: str) -> None:
        self._last_good = self._writer.written(wait=True) or self._last_good
        kept = f"the last good checkpoint is {self._last_good.folder}" if self._last_good else "no checkpoint yet"
        raise TrainingError(
            f"{what} at step {step}; {kept}. Try a lower training.learning_rate, or a training.gradient_clip"
        )

    @property
    def _checkpoint(self) -> Path:
        """The folder of the checkpoint of this step."""
        return self.folder / "checkpoints" / f"step-{self.step:08d}"

    def _note_written(self, state: TrainingState, wait: bool = False) -> None:
        """Tell of a checkpoint as soon as it is on the disk."""
        if checkpoint := self._writer.written(wait):
            self._last_good = checkpoint
            self._tell("checkpoint_saved", state, checkpoint.folder)
            self.hooks.saved(checkpoint)

    def _save(self) -> None:
        self._refuse_to_save_bad_weights()
        pairs = self.pairs.state()
        random = {"batches": pairs.batches, "pairs": pairs.generator}
        random |= {"generator": self.generator.get_state(), "torch": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        random |= {_OF_LOSS + name: value for name, value in self.loss.state().items()}
        tensors: dict[str, Mapping[str, Tensor]] = {
            f"random-{rank}": states for rank, states in enumerate(gather_object([random]))
        }
        facts = self.facts | {
            "step": self.step,
            "batches": pairs.position,
            "processes": self.accelerator.num_processes,
            "losses": self._unlogged,
        }
        averages = {id(parameter): mean for parameter, mean in zip(self.parameters, self.ema.averages, strict=True)}
        weights = self._weights()
        tensors |= {
            "model": weights,
            "ema": {name: averages.get(id(value), value) for name, value in weights.items()},
            "optimizer": self._optimizer_state(),
        }
        if self.accelerator.scaler is not None:
            facts["scaler"] = self.accelerator.scaler.state_dict()
        if self.accelerator.is_main_process:
            self._writer.start(self.step, tensors, facts)

    def _refuse_to_save_bad_weights(self) -> None:
        """Never save what a bad loss or gradient has spoilt."""
        self._fetch_losses()
        norms = torch._foreach_norm([*self.parameters, *self.ema.averages])
        if not bool(torch.stack(norms).isfinite().all()):
            self._stop_at_bad_loss(self.step, "the weights became infinite or not a number")

    def _weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the model by name, the network's without what Accelerate wraps around it."""
        network = self.accelerator.unwrap_model(self.model.network, keep_fp32_wrapper=False)
        own = {n: v for n, v in self.model.state_dict(keep_vars=True).items() if not n.startswith("network.")}
        return own | {f"network.{name}": value for name, value in network.state_dict(keep_vars=True).items()}

    def _optimizer_state(self) -> dict[str, Tensor]:
        if self._fused is not None:
            state = dict(enumerate(self._fused.state()))
        else:
            assert self.optimizer is not None
            state = self.optimizer.state_dict()["state"]
        return {
            f"{self.names[index]}/{key}": torch.as_tensor(value)
            for index, entries in state.items()
            for key, value in entries.items()
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self._take(checkpoint, checkpoint.state())
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{checkpoint.folder}: does not fit this model or this device: {type(error).__name__}: {reason}"
            ) from error
        if self.step > self.settings.steps:
            raise ConfigError(f"training.steps: is {self.settings.steps}, and {self.step} steps are done already")
        self._last_good = checkpoint
        self.hooks.loaded(checkpoint)

    def _take(self, checkpoint: Checkpoint, facts: Mapping[str, Any]) -> None:
        for fact, now in self.facts.items():
            if facts[fact] != now:
                raise ConfigError(f"{fact}: the run was started with other data: {_unlike(facts[fact], now)}")
        if facts["processes"] != self.accelerator.num_processes:
            raise ConfigError(
                f"the run was started by {facts['processes']} processes and cannot go on with "
                f"{self.accelerator.num_processes}: each has random numbers of its own"
            )
        self.model.load_state_dict(checkpoint.tensors("model"))
        averages = checkpoint.tensors("ema")
        for name, average in zip(self.names, self.ema.averages, strict=True):
            average.copy_(averages[name])
        entries: dict[int, dict[str, Tensor]] = {}
        index = {name: i for i, name in enumerate(self.names)}
        for key, value in checkpoint.tensors("optimizer").items():
            name, _, entry = key.rpartition("/")
            entries.setdefault(index[name], {})[entry] = value
        if self._fused is not None:
            self._fused.restore([entries.get(i, {}) for i in range(len(self.names))])
        else:
            assert self.optimizer is not None
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": entries})
        random = checkpoint.tensors(f"random-{self.accelerator.process_index}")
        self.pairs.restore(PairsState(random["batches"], facts["batches"], random["pairs"]))
        self.generator.set_state(random["generator"])
        of_loss = {name.removeprefix(_OF_LOSS): value for name, value in random.items() if name.startswith(_OF_LOSS)}
        self.loss.restore({name: value.to(self.accelerator.device) for name, value in of_loss.items()})
        torch.set_rng_state(random["torch"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.accelerator.device)
        if "scaler" in facts and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        self.step, self._unlogged = facts["step"], facts["losses"]

    def _tell(self, event: str, state: TrainingState, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(state, *arguments)


def _unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The facts that differ, in words."""
    return ", ".join(f"{key} was {value} and is {now[key]}" for key, value in before.items() if value != now[key])
