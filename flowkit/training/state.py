"""The state of a training to and from checkpoints: it goes on as if it had never stopped."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..interfaces.loss import Loss
from ..model import Model
from ..random import ShareGenerator, derive_seed
from .checkpoint import Checkpoint
from .ema import EMA
from .pairs import Pairs, PairsState
from .same_data import unlike
from .stepping import Stepping
from .update import Update

if TYPE_CHECKING:
    from .sharding import Sharding

__all__ = ["ResumableState"]

_OF_LOSS = "loss/"
"""Before the names of what a loss keeps; every process has its own, beside its random states."""


class ResumableState:
    """What a training needs to go on as if it had never stopped, to and from checkpoints.

    Arguments:
        model: What is trained.
        loss: May have learned something.
        update: Keeps the optimizer's state.
        ema: The averaged weights.
        pairs: Where the stream of pairs is.
        generator: What the loss draws from.
        accelerator: Knows the process, and what is wrapped around the network.
        stepping: May have decided how steps are taken.
        facts: What `state.json` must hold beside the step, to build the model again.
        sharding: Cuts the network over the processes, if it is cut.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        update: Update,
        ema: EMA,
        pairs: Pairs,
        generator: torch.Generator,
        accelerator: Accelerator,
        stepping: Stepping,
        facts: Mapping[str, Any],
        sharding: "Sharding | None" = None,
    ) -> None:
        self.model, self.loss, self.update, self.ema = model, loss, update, ema
        self.pairs, self.generator, self.accelerator, self.facts = pairs, generator, accelerator, dict(facts)
        self.stepping, self.sharding, self._network = stepping, sharding, model.network
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())

    def now(self, step: int, losses: Sequence[float]) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """What a checkpoint after `step` steps holds: its tensors, file by file, and what goes into `state.json`.

        Every process must call it. What is cut is a `DTensor`, with the part of this process.

        Arguments:
            step: Steps done.
            losses: Those that have not been logged yet.
        """
        pairs = self.pairs.state()
        random = {"batches": pairs.batches, "pairs": pairs.generator}
        random |= {"generator": self.generator.get_state(), "torch": torch.get_rng_state()}
        if self.accelerator.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        random |= {_OF_LOSS + name: value for name, value in self.loss.state().items()}
        tensors: dict[str, Mapping[str, Tensor]] = {
            f"random-{rank}": states for rank, states in enumerate(gather_object([random]))
        }
        averages = {id(p): self._whole(p, mean) for p, mean in zip(self.parameters, self.ema.averages, strict=True)}
        weights = self._weights()
        tensors |= {
            "model": weights,
            "ema": {name: averages.get(id(value), value) for name, value in weights.items()},
            "optimizer": self._optimizer_state(),
        }
        facts = self.facts | {
            "step": step,
            "batches": pairs.position,
            "processes": self.accelerator.num_processes,
            "losses": list(losses),
        }
        if decided := self.stepping.state():
            facts["step_choice"] = decided
        if self.accelerator.scaler is not None:
            facts["scaler"] = self.accelerator.scaler.state_dict()
        return tensors, facts

    def restore(self, checkpoint: Checkpoint) -> tuple[int, list[float]]:
        """Go back to a checkpoint: its step, and the losses that have not been logged yet.

        Raises:
            CheckpointError: It does not fit.
            ConfigError: It is that of other data.
        """
        try:
            facts = checkpoint.state()
            self._take(checkpoint, facts)
            return facts["step"], facts["losses"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{checkpoint.folder}: does not fit this model or this device: {type(error).__name__}: {reason}"
            ) from error

    def _take(self, checkpoint: Checkpoint, facts: Mapping[str, Any]) -> None:
        if differences := unlike(facts["data"], self.facts["data"]):
            raise ConfigError(f"data: the run was started with other data: {differences}")
        rows = self.sharding.rows if self.sharding else None
        weights = checkpoint.tensors("model", rows)
        checkpoint.load_into(self.model, self.sharding.whole_weights(weights) if self.sharding else weights)
        averages = checkpoint.tensors("ema", rows)
        for name, average in zip(self.names, self.ema.averages, strict=True):
            average.copy_(averages[name])
        kept: dict[str, dict[str, Tensor]] = {name: {} for name in self.names}
        for key, value in checkpoint.tensors("optimizer", rows).items():
            name, _, entry = key.rpartition("/")
            kept[name][entry] = value
        self.update.restore(list(kept.values()))
        as_many = facts["processes"] == self.accelerator.num_processes
        random = checkpoint.tensors(f"random-{self.accelerator.process_index % facts['processes']}")
        self.pairs.restore(PairsState(random["batches"], facts["batches"], random["pairs"]))
        self.generator.set_state(random["generator"])
        of_loss = {name.removeprefix(_OF_LOSS): value for name, value in random.items() if name.startswith(_OF_LOSS)}
        self.loss.restore({name: value.to(self.accelerator.device) for name, value in of_loss.items()})
        if as_many:
            torch.set_rng_state(random["torch"])
            if "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], self.accelerator.device)
        else:  # streams of other processes must not go on twice
            for generator in (self.generator, self.pairs.generator):
                if isinstance(generator, ShareGenerator):
                    generator.part_ways(facts["step"])
            torch.manual_seed(derive_seed(torch.initial_seed(), facts["step"]))
        self.stepping.restore(facts.get("step_choice"))
        if "scaler" in facts and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])

    def _weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of the model by name, the network's without what Accelerate wraps around it."""
        own = {n: v for n, v in self.model.state_dict(keep_vars=True).items() if not n.startswith("network.")}
        return own | {f"network.{name}": value for name, value in self._network.state_dict(keep_vars=True).items()}

    def _optimizer_state(self) -> dict[str, Tensor]:
        kept = zip(self.names, self.parameters, self.update.state(), strict=True)
        return {
            f"{name}/{key}": self._whole(parameter, value)
            for name, parameter, entries in kept
            for key, value in entries.items()
        }

    def _whole(self, like: Tensor, part: Tensor) -> Tensor:
        """Something that is cut like a parameter, if that is cut, from what this process keeps of it."""
        return self.sharding.whole_of(like, part) if self.sharding else part
