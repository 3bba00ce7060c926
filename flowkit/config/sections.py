"""The settings that belong to no component: training, sampling, evaluation."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..errors import ConfigError
from .form import Form, Slot

__all__ = ["EVALUATION", "FORMS", "SAMPLING", "EvaluationSettings", "SamplingSettings", "TrainingSettings"]

Positive = Annotated[int, Field(gt=0)]


def _no(given: Any) -> Any:
    """What was written as `no`, which YAML 1.1 takes for false."""
    return "no" if given is False else given


Precision = Annotated[Literal["no", "fp16", "bf16"], BeforeValidator(_no)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingSettings(_Section):
    """How training runs."""

    steps: Positive = Field(3000, description="optimizer steps")
    batch_size: Positive = Field(256, description="samples a step, over all processes")
    accumulate: Positive = Field(1, description="pieces of a batch, one after another, where memory is short")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam, after the warm-up")
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    decay: Literal["none", "cosine"] = Field("cosine", description="of the learning rate to 0 at the last step")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as in AdamW")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: no limit")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the averaged weights that sampling uses; 0: none")
    condition_dropout: float = Field(
        0.0, ge=0, lt=1, description="probability that a sample trains without its condition"
    )
    mixed_precision: Precision = Field("no", description="Accelerate's mixed precision")
    compile: Literal[False, True, "auto"] = Field(
        False, description="compile the step: slow to start, then faster; auto: if timing it says so"
    )
    shard: bool = Field(False, description="cut weights, averages and Adam's state over the processes (FSDP)")
    start_from: Path | None = Field(None, description="a run whose averaged weights training starts from")
    seed: int = Field(0, ge=0, lt=2**63, description="of the weights, the data order and the noise")
    log_every: Positive = Field(50, description="steps between fetches of the loss")
    checkpoint_every: Positive = Field(1000, description="steps between checkpoints")
    keep_checkpoints: Positive = Field(2, description="how many checkpoints stay")

    def check_device(self, device: str) -> None:
        """Refuse what a device of this type cannot do, and Accelerate would pass over.

        Raises:
            ConfigError: It is fp16 on a CPU.
        """
        if self.mixed_precision == "fp16" and device == "cpu":
            raise ConfigError("training.mixed_precision: fp16 needs a GPU: take bf16, or no")


class SamplingSettings(_Section):
    """How samples are drawn."""

    steps: Positive = Field(50, description="steps of the integrator")
    batch_size: Positive = Field(4096, description="samples integrated at once")
    compile: bool = Field(False, description="compile the network: slow to start, then faster")


class EvaluationSettings(_Section):
    """How samples are measured."""

    samples: Positive = Field(2048, description="samples a side (for a finite data set at most half of it)")
    repeats: Positive = Field(5, description="independent draws that are averaged")
    every: Positive | None = Field(
        None, description="training steps between measurements of the averaged weights; null: none amid training"
    )


SAMPLING = Form(
    SamplingSettings,
    {
        "integrator": Slot("integrator", meaning="solves the sampling ODE or SDE"),
        "grid": Slot("grid", meaning="the times at which it steps"),
        "diffusion": Slot("diffusion", None, True, meaning="sigma_t of the SDE; null: the default, if one is solved"),
        "guidance": Slot("guidance", None, True, meaning="steers sampling by the condition; null: none"),
        "schedule": Slot("schedule", None, True, meaning="the schedule to sample on; null: that of the path"),
    },
)
EVALUATION = Form(
    EvaluationSettings, {"metrics": Slot("metric", None, many=True, meaning="what compares samples with data")}
)
FORMS = {"training": Form(TrainingSettings), "sampling": SAMPLING, "evaluation": EVALUATION}
"""What may be filled in in each of these sections."""
