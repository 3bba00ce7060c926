"""What lifecycle hooks are given: one context object each, which may gain fields without breaking anyone.

A context is for looking at. Its fields are the objects of the run itself, not copies, unless they say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from ..model import Model
    from ..pipeline.pipeline import Pipeline

__all__ = [
    "CheckpointLoaded",
    "CheckpointSaved",
    "ConfigurationBuilt",
    "Context",
    "ReportBuilt",
    "ReportDraft",
    "SamplingEnded",
    "SamplingStarted",
    "StepEnded",
    "TrainingEnded",
    "TrainingStarted",
]


class Context:
    """What one hook is called with.

    Arguments:
        hook: The name of that hook.
        gives: What the hook yields; None if it only watches.
    """

    hook: ClassVar[str]
    gives: ClassVar[type | None] = None


@dataclass(frozen=True, kw_only=True)
class ConfigurationBuilt(Context):
    """All parts of a pipeline have been made, and fit.

    Arguments:
        config: The complete configuration as plain data, a copy: changing it changes nothing.
        pipeline: The pipeline; its weights are those at the start, also where a run is being loaded.
    """

    hook: ClassVar[str] = "flowkit_configuration_built"

    config: Mapping[str, Any]
    pipeline: "Pipeline"


@dataclass(frozen=True, kw_only=True)
class TrainingStarted(Context):
    """Training is about to take its first step.

    Arguments:
        model: The model in training, on its device.
        config: What `config.yaml` holds: the complete configuration, with the versions behind it.
        folder: The run folder; `config.yaml` is there.
        step: Steps done before, 0 unless a run is resumed.
        steps: Steps to do in all.
        is_main_process: Whether this is the process that writes the run folder.
    """

    hook: ClassVar[str] = "flowkit_training_started"

    model: "Model"
    config: Mapping[str, Any]
    folder: Path
    step: int
    steps: int
    is_main_process: bool


@dataclass(frozen=True, kw_only=True)
class StepEnded(Context):
    """An optimizer step was taken.

    Arguments:
        model: The model in training. Its gradients are cleared already.
        step: Steps done, this one among them.
        steps: Steps to do in all.
        loss: The mean loss of this process's part of the batch: a tensor without axes, on the device. `float(loss)`
            waits for the device; keep the tensor and read it now and then.
        learning_rate: That of this step.
        is_main_process: Whether this is the process that writes the run folder.
    """

    hook: ClassVar[str] = "flowkit_step_ended"

    model: "Model"
    step: int
    steps: int
    loss: "Tensor"
    learning_rate: float
    is_main_process: bool


@dataclass(frozen=True, kw_only=True)
class TrainingEnded(Context):
    """Training is over, for better or worse.

    Arguments:
        model: The model, with the weights in training; `fit` puts the averaged ones in their place afterwards.
        folder: The run folder.
        step: Steps done.
        steps: Steps that were to be done.
        error: What ended it early, `TrainingInterrupted` among others; None after the last step, or after that which a
            callback made the last.
        is_main_process: Whether this is the process that writes the run folder.
    """

    hook: ClassVar[str] = "flowkit_training_ended"

    model: "Model"
    folder: Path
    step: int
    steps: int
    error: BaseException | None
    is_main_process: bool


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Context):
    """A checkpoint is on the disk, whole.

    Arguments:
        checkpoint: Its folder. `training.keep_checkpoints` decides how long it stays.
        folder: The run folder.
        step: Steps done.
    """

    hook: ClassVar[str] = "flowkit_checkpoint_saved"

    checkpoint: Path
    folder: Path
    step: int


@dataclass(frozen=True, kw_only=True)
class CheckpointLoaded(Context):
    """The weights of a checkpoint are in a model.

    Arguments:
        checkpoint: Its folder.
        folder: The run folder.
        step: After how many steps it was written.
        model: The model, on its device.
        resumes_training: Whether training goes on from here, with the weights in training; otherwise the model has
            the averaged weights, for sampling.
    """

    hook: ClassVar[str] = "flowkit_checkpoint_loaded"

    checkpoint: Path
    folder: Path
    step: int
    model: "Model"
    resumes_training: bool


@dataclass(frozen=True, kw_only=True)
class SamplingStarted(Context):
    """A pipeline is about to draw samples.

    Arguments:
        pipeline: The pipeline.
        n: How many samples.
        y: Their labels, shape (n,), or None.
        seed: The seed.
        settings: The settings of the section `sampling` that differ from the configuration.
    """

    hook: ClassVar[str] = "flowkit_sampling_started"

    pipeline: "Pipeline"
    n: int
    y: "Tensor | None"
    seed: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SamplingEnded(Context):
    """A pipeline has drawn samples.

    Arguments:
        pipeline: The pipeline.
        samples: The samples, shape (n, *event), on the CPU, in the units of the data: what the caller gets. None where
            they went to a file.
        file: That file, or folder of images; None where they are in memory.
        y: Their labels, shape (n,), or None.
        seed: The seed.
        settings: The settings of the section `sampling` that differ from the configuration.
    """

    hook: ClassVar[str] = "flowkit_sampling_ended"

    pipeline: "Pipeline"
    samples: "Tensor | None" = None
    file: Path | None = None
    y: "Tensor | None"
    seed: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReportDraft(Context):
    """The report of a run is being put together.

    Arguments:
        folder: The run folder.
        config: What its `config.yaml` holds.
        metrics: The lines of its `metrics.jsonl`.
        evaluation: What its `evaluation.json` holds: `step`, and the lines of `metrics`; empty if there is none.
    """

    hook: ClassVar[str] = "flowkit_report_sections"
    gives: ClassVar[type | None] = Section

    folder: Path
    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    evaluation: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReportBuilt(Context):
    """The report of a run is on the disk.

    Arguments:
        folder: The run folder.
        report: The page.
    """

    hook: ClassVar[str] = "flowkit_report_built"

    folder: Path
    report: Path
