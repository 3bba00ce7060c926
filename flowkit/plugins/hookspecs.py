"""The hooks that flowkit calls and plugins implement."""

from collections.abc import Iterable

import pluggy

from .component import Command, Component, Recipe
from .contexts import (
    CheckpointLoaded,
    CheckpointSaved,
    ConfigurationBuilt,
    ReportBuilt,
    ReportDraft,
    SamplingEnded,
    SamplingStarted,
    StepEnded,
    TrainingEnded,
    TrainingStarted,
)
from .kinds import Kind
from .section import Section

__all__ = ["PROJECT", "FlowkitHooks", "hookimpl"]

PROJECT = "flowkit"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class FlowkitHooks:
    """Every hook, with when it is called and what it returns.

    The lifecycle hooks, those with a `context`, watch: they change nothing that the context holds, and only
    `flowkit_report_sections` gives something. They fire in every process in which the thing happens. One that raises
    is reported, and the run goes on.
    """

    @hookspec
    def flowkit_kinds(self) -> Iterable[Kind]:  # type: ignore[empty-body]
        """Kinds of component that the plugin adds. Called once, at discovery: import nothing heavy here."""

    @hookspec
    def flowkit_components(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """The components of the plugin. Called once, at discovery: import nothing heavy here."""

    @hookspec
    def flowkit_recipes(self) -> Iterable[Recipe]:  # type: ignore[empty-body]
        """The recipes of the plugin. Called once, at discovery."""

    @hookspec
    def flowkit_commands(self) -> Iterable[Command]:  # type: ignore[empty-body]
        """The commands of the plugin. Called once, at discovery."""

    @hookspec
    def flowkit_configuration_built(self, context: ConfigurationBuilt) -> None:
        """A pipeline was built: its configuration is complete, and its parts fit. Also when a run is loaded.

        In every process. Nothing may be changed: the configuration is settled.
        """

    @hookspec
    def flowkit_training_started(self, context: TrainingStarted) -> None:
        """Training is about to take its first step, or the first after a resumption.

        In every process. Nothing may be changed; draw random numbers from a generator of your own.
        """

    @hookspec
    def flowkit_step_ended(self, context: StepEnded) -> None:
        """An optimizer step was taken.

        In every process, after every step. Nothing may be changed. The loss is on the device: reading it waits there.
        """

    @hookspec
    def flowkit_training_ended(self, context: TrainingEnded) -> None:
        """Training is over: after the last step, and after an interruption or a failure that came once it had started.

        In every process. Nothing may be changed.
        """

    @hookspec
    def flowkit_checkpoint_saved(self, context: CheckpointSaved) -> None:
        """A checkpoint was written.

        In the main process only. Its files may be copied, and not be changed.
        """

    @hookspec
    def flowkit_checkpoint_loaded(self, context: CheckpointLoaded) -> None:
        """The weights of a checkpoint were put into a model, for sampling or to go on with training.

        In every process. Nothing may be changed.
        """

    @hookspec
    def flowkit_sampling_started(self, context: SamplingStarted) -> None:
        """A pipeline is about to draw samples: `sample`, `sample_to` and `trajectory`, also for pictures and metrics.

        In every process that draws. Nothing may be changed.
        """

    @hookspec
    def flowkit_sampling_ended(self, context: SamplingEnded) -> None:
        """A pipeline has drawn samples; not after a failure.

        In every process that drew. Nothing may be changed: the caller gets these very samples.
        """

    @hookspec
    def flowkit_report_sections(self, context: ReportDraft) -> Iterable[Section]:  # type: ignore[empty-body]
        """Sections for the report of a run, which is being put together; they come after flowkit's own.

        In the main process only, or in that of `flowkit report`. Nothing may be changed, in the run folder neither.
        """

    @hookspec
    def flowkit_report_built(self, context: ReportBuilt) -> None:
        """The report of a run was written.

        In the main process only, or in that of `flowkit report`. The page may be copied or changed.
        """
