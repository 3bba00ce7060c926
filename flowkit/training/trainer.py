"""The training loop, on Accelerate."""

import math
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from ..conditions import Condition
from ..config.sections import TrainingSettings
from ..errors import ConfigError, TrainingError, TrainingInterrupted
from ..interfaces.callback import Callback, TrainingState
from ..interfaces.coupling import Coupling
from ..interfaces.data import DataSource
from ..interfaces.loss import Loss
from ..interfaces.source import Source
from ..model import Model
from ..plugins import PluginManager, installed_plugins
from ..processes import check_launch, launched
from ..random import ShareGenerator, derive_seed
from ..threads import suitable_threads
from .batches import Batches
from .checkpoint import Checkpoint, checkpoint_of, partial_checkpoint, usable_checkpoint
from .compiled import CompiledStep, compiling_refused
from .distributed import (
    check_plain,
    check_shardable,
    check_shares,
    make_alike,
    together,
)
from .ema import EMA
from .gradient import Gradient
from .hooks import TrainingHooks
from .interrupt import ENOUGH, Agreement, Interrupt
from .losses import Losses
from .pace import Pace
from .pairs import Pairs
from .state import ResumableState
from .stepping import Stepping
from .update import AcceleratedUpdate, FusedUpdate, Update, wraps_nothing
from .writer import CheckpointWriter

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from .sharding import Sharding

__all__ = ["Trainer"]

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
        measure: Measures samples of the model. It is called by the first process, with the averages in the model.
        measure_every: After how many steps each time; None: never.
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
        measure: Callable[[], "Sequence[Evaluation]"] | None = None,
        measure_every: int | None = None,
    ) -> None:
        launched().meet()
        AcceleratorState._reset_state()  # another training in this process may have had another precision
        # Buffers that every pass sends would be waited for where one process alone draws samples.
        alike = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision, kwargs_handlers=[alike])
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        check_launch(world)
        check_plain(self.accelerator)
        if settings.shard:
            check_shardable(settings)
        check_shares(settings.batch_size, settings.accumulate, world)
        device = self.accelerator.device
        settings.check_device(device.type)
        self.model = model.to(device)
        if world > 1:
            make_alike(model)
        self.settings, self.folder = settings, folder
        is_main = self.accelerator.is_main_process
        self.callbacks = list(callbacks) if is_main else []
        self.config = dict(config or {})
        self._measure, self._measure_every = measure, measure_every
        self.hooks = TrainingHooks(plugins or installed_plugins(), model, folder, settings.steps, is_main)
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        in_network = set(model.network.parameters())
        apart = [p for p in self.parameters if p not in in_network] if world > 1 else []
        self.sharding: Sharding | None = None
        if settings.shard and world > 1:
            from . import sharding  # slow to import

            self.sharding = sharding.Sharding(model, self.accelerator)
            self.parameters, apart = self.sharding.parts, self.sharding.replicated
        self._network = model.network
        self.ema = EMA(self.parameters, settings.ema_decay)
        # Accelerate's own versions are for loss scaling and sharding; without those they only cost time.
        is_plain = self.accelerator.scaler is None and self.accelerator.distributed_type in _UNSHARDED
        backward: Callable[[Tensor], None] = Tensor.backward if is_plain else self.accelerator.backward
        has_kernel = is_plain and device.type in ("cpu", "cuda")
        clip, weight_decay = settings.gradient_clip, settings.weight_decay
        if self.sharding is not None:
            self.update: Update = self.sharding.update(clip, weight_decay)
        else:
            self.update = (FusedUpdate if has_kernel else AcceleratedUpdate)(self.parameters, clip, weight_decay)
        compiling = partial(CompiledStep, model, loss, cast(FusedUpdate, self.update), self.ema)
        refused = compiling_refused(self.update, world, settings.accumulate)
        self._stepping = Stepping(settings.compile, refused, settings.steps, device, self._eager_step, compiling)
        dtype = next((p.dtype for p in self.parameters), torch.float32)
        batches = Batches(data, settings.batch_size, derive_seed(settings.seed, 1), device, dtype, rank, world)
        seed, size, pieces = settings.seed, settings.batch_size, settings.accumulate
        self.generator = ShareGenerator(derive_seed(seed, 2, 0), size, rank, world, pieces, device=device)
        self.gradient = Gradient(model, loss, self.generator, pieces, self.accelerator, backward, apart, self.sharding)
        of_pairs = self.generator
        if coupling.ahead:  # pairs are drawn while a step runs, which has draws of its own
            of_pairs = ShareGenerator(derive_seed(seed, 4, 0), size, rank, world, device=device)
        self.pairs = Pairs(batches, source, coupling, of_pairs, settings.condition_dropout)
        self.resumable = ResumableState(
            model,
            loss,
            self.update,
            self.ema,
            self.pairs,
            self.generator,
            self.accelerator,
            self._stepping,
            facts or {},
            self.sharding,
        )
        self.step = 0
        self._rate = 0.0
        self.losses = Losses(self.accelerator)
        self._last_good: Checkpoint | None = None
        self._writer = CheckpointWriter(folder, settings.keep_checkpoints)

    def fit(self, resume: bool = False) -> None:
        """Train to the last step, or until a callback says `state.stop`, then leave the averaged weights in the model.

        Arguments:
            resume: Go on from the newest checkpoint of the run folder.

        Raises:
            TrainingError: The loss is no longer a number. The last good checkpoint stays.
            TrainingInterrupted: A signal came; the checkpoint of that step is written, and the averages are in the
                model.
        """
        with self._forked_randomness(), suitable_threads(self.model), Interrupt() as interrupt:
            torch.manual_seed(derive_seed(self.settings.seed, 3, self.accelerator.process_index))
            if resume and (checkpoint := usable_checkpoint(self.folder, self.resumable.facts.get("run"))):
                self._restore(checkpoint)
            with warnings.catch_warnings():  # torch 2.13 has another name for broadcast_buffers, Accelerate has not
                warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
                prepared = self.update.prepare(self.accelerator, self._network)
            self.model.network = prepared
            state = TrainingState(self.model, self.folder, self.step, self.settings.steps, [])
            with self._together():
                self._tell("training_started", state)
            try:
                with self.pairs, self._writer:
                    self.hooks.started(self.step, self.config)
                    self._loop(state, interrupt)
            except BaseException as error:
                self._end(state, prepared, error)
                if isinstance(error, TrainingInterrupted):
                    self._leave_averages()
                raise
            self._end(state, prepared, None)
        self._leave_averages()
        if interrupt.signal is not None:  # it came when nothing was left to interrupt here
            signal.raise_signal(interrupt.signal)

    def _forked_randomness(self) -> AbstractContextManager[None]:
        """What is drawn from torch's global generators in here is not missing from them afterwards."""
        device = self.accelerator.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    def _leave_averages(self) -> None:
        self._put_averages_in()
        if self.sharding is not None:
            self.sharding.join()
        if self.accelerator.num_processes > 1:
            make_alike(self.model)
        self.model.eval()

    def _end(self, state: TrainingState, prepared: nn.Module, error: BaseException | None) -> None:
        if self.sharding is None:
            if not wraps_nothing(self.accelerator):
                self.accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)  # takes its casts off `forward`
            self.model.network = self._network
        elif error is None or isinstance(error, TrainingInterrupted):  # else other processes may have gone
            self.sharding.join()
        state.error = error
        self._tell("training_ended", state)
        self.hooks.ended(self.step, error)

    def _loop(self, state: TrainingState, interrupt: Interrupt) -> None:
        settings = self.settings
        self.model.train()
        pace, agreement = Pace(self.step), Agreement(self.accelerator, settings.log_every, self.step)
        while self.step < settings.steps:
            loss = self._train_step(*next(self.pairs))
            self.losses.add(loss)
            self.step += 1
            self.hooks.step_ended(self.step, loss, self._rate)
            last = self.step == settings.steps
            logging = last or self.step % settings.log_every == 0
            if logging:
                self._log(state, pace)
            failure = self._measured(state, pace)
            if pace.asks_for_a_sign():
                self._tell("progressed", state)
            wanted = ENOUGH if state.stopped_because is not None else interrupt.signal or 0
            stopped = 0 if last else agreement.signal(self.step, wanted)
            saving = last or stopped or failure or self.step % settings.checkpoint_every == 0
            if saving or logging or self.accelerator.num_processes == 1:
                self._note_written(state, wait=bool(saving))
            if saving:
                self._save()
            if last or stopped or failure:
                self._note_written(state, wait=True)
            if failure is not None:
                raise failure
            if stopped == ENOUGH:
                return
            if stopped:
                raise TrainingInterrupted(
                    f"stopped at step {self.step} of {settings.steps}; {self._checkpoint} holds everything to go on",
                    stopped,
                )

    def _log(self, state: TrainingState, pace: Pace) -> None:
        """Tell the losses since the last time."""
        state.steps_per_second = pace.steps_per_second(self.step)
        self._fetch_losses()
        state.losses = self.losses.take()
        with self._together():
            self._tell("logged", state)

    def _measured(self, state: TrainingState, pace: Pace) -> Exception | None:
        """Measure, if it is time to. What fails in it is given back, to be raised when this step is saved."""
        if self._measure is None or not self._measure_every or self.step % self._measure_every:
            return None
        try:
            with pace.halted():
                self._evaluate(state, self._measure)
        except Exception as error:
            return error
        return None

    def _evaluate(self, state: TrainingState, measure: Callable[[], "Sequence[Evaluation]"]) -> None:
        """Measure samples of the averages, and go on as if nothing had been."""
        weights = [parameter.detach().clone() for parameter in self.parameters]
        self._put_averages_in()
        self.model.eval()
        try:
            with self._forked_randomness(), self._together():
                if self.accelerator.is_main_process:
                    self._tell("progressed", state)  # a sign of life: measuring may take its time
                    state.evaluations = measure()
                    self._tell("evaluated", state)
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, weights)
            self.model.train()

    @torch.no_grad()
    def _put_averages_in(self) -> None:
        torch._foreach_copy_(self.parameters, self.ema.averages)

    def _train_step(self, x0: Tensor, z: Tensor, y: Condition) -> Tensor:
        self._rate = self._learning_rate()
        left, weight = self.settings.steps - self.step, self.ema.weight(self.step + 1)
        return self._stepping(left, x0, z, y, self._rate, weight)

    def _eager_step(self, x0: Tensor, z: Tensor, y: Condition) -> Tensor:
        loss = self.gradient(x0, z, y)
        self.update(self._rate)
        self.ema.update(self.step + 1)
        return loss

    def _learning_rate(self) -> float:
        settings = self.settings
        rate = settings.learning_rate * min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        if settings.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / settings.steps))
        return rate

    def _fetch_losses(self) -> None:
        if bad := self.losses.fetch():
            steps_ago, loss = bad
            self._stop_at_bad_loss(self.step - steps_ago, f"the loss became {loss}")

    def _stop_at_bad_loss(self, step: int, what: str) -> None:
        self._last_good = self._writer.written(wait=True) or self._last_good
        kept = f"the last good checkpoint is {self._last_good.folder}" if self._last_good else "no checkpoint yet"
        advice = "Try a lower training.learning_rate, or a training.gradient_clip"
        if step == 1:  # before any weight has moved
            advice = "So the data, the path, or the network as it begins give numbers that are not finite"
        raise TrainingError(f"{what} at step {step}; {kept}. {advice}")

    @property
    def _checkpoint(self) -> Path:
        """The folder of the checkpoint of this step."""
        return checkpoint_of(self.folder, self.step).folder

    def _note_written(self, state: TrainingState, wait: bool = False) -> None:
        """Tell of a checkpoint as soon as it is on the disk."""
        with self._together():
            if checkpoint := self._writer.written(wait):
                self._last_good = checkpoint
                self._tell("checkpoint_saved", state, checkpoint.folder)
                self.hooks.saved(checkpoint)

    def _save(self) -> None:
        self._refuse_to_save_bad_weights()
        tensors, facts = self.resumable.now(self.step, self.losses.unlogged)
        if self.sharding is not None:
            tensors = self.sharding.write(partial_checkpoint(self.folder), tensors)
        if self.accelerator.is_main_process:
            self._writer.start(self.step, tensors, facts, begun=self.sharding is not None)

    def _refuse_to_save_bad_weights(self) -> None:
        """Never save what a bad loss or gradient has spoilt."""
        self._fetch_losses()
        norms = torch._foreach_norm([*self.parameters, *self.ema.averages])
        finite = torch.stack(norms).isfinite().all().int()
        if not self.accelerator.gather(finite.reshape(1)).all():  # each process may have weights of its own
            self._stop_at_bad_loss(self.step, "the weights became infinite or not a number")

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.step, self.losses.unlogged = self.resumable.restore(checkpoint)
        if self.step > self.settings.steps:
            raise ConfigError(f"training.steps: is {self.settings.steps}, and {self.step} steps are done already")
        self._last_good = checkpoint
        self.hooks.loaded(checkpoint)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What the first process does in here with the whole weights, and what fails in it fails in all."""
        with together(self.accelerator), nullcontext() if self.sharding is None else self.sharding.whole():
            yield

    def _tell(self, event: str, state: TrainingState, *arguments: Any) -> None:
        state.step, state.learning_rate, state.step_choice = self.step, self._rate, self._stepping.choice
        for callback in self.callbacks:
            getattr(callback, event)(state, *arguments)
