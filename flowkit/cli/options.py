"""What the commands that sample a run have in common: which run, and which settings of sampling are changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config.files import override
from ..errors import ConfigError
from .completion import complete_integrator, complete_sampling_override

if TYPE_CHECKING:
    from ..pipeline.pipeline import Pipeline

__all__ = [
    "CheckpointOption",
    "IntegratorOption",
    "Overrides",
    "RawOption",
    "RunArgument",
    "StepsOption",
    "changed",
    "loaded",
    "merged",
]

_CHANGEABLE = ("sampling", "data", "source", "evaluation")
"""Sections that say where data are and how samples are drawn and measured, not how they were learned."""

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings to change of sampling, data or evaluation, such as sampling.guidance.scale=3.",
        metavar="[S.K=V]...",
        autocompletion=complete_sampling_override,
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="The run folder.")]
IntegratorOption = Annotated[
    str | None,
    typer.Option(help="Another integrator (flowkit list integrator).", autocompletion=complete_integrator),
]
CheckpointOption = Annotated[
    int | None, typer.Option("--checkpoint", help="The checkpoint of this step; by default the newest.")
]
RawOption = Annotated[bool, typer.Option("--raw", help="The weights in training, not their averages (EMA).")]
StepsOption = Annotated[int | None, typer.Option(help="Another number of steps.")]


def changed(overrides: list[str] | None, integrator: str | None, steps: int | None) -> list[str]:
    """What a command changes, as overrides.

    Raises:
        ConfigError: An override is of a section that training has used up.
    """
    for change in overrides or []:
        if change.partition(".")[0] not in _CHANGEABLE or "." not in change.partition("=")[0]:
            raise ConfigError(
                f"{change!r}: of a trained run only settings of {', '.join(_CHANGEABLE)} can be changed, as in "
                f"sampling.steps=20"
            )
    options = []
    for name, given in (("integrator", integrator), ("steps", steps)):
        if given is None:
            continue
        twice = [change for change in overrides or [] if change.startswith(f"sampling.{name}=")]
        if twice:
            raise ConfigError(f"--{name} {given} and {twice[0]} say the same setting: give one of them")
        options.append(f"sampling.{name}={given}")
    return [*options, *(overrides or [])]


def loaded(run: Path, changes: list[str], checkpoint: int | None, raw: bool, device: str | None = None) -> "Pipeline":
    """The pipeline of a run, with what is changed beside sampling."""
    from ..pipeline.pipeline import Pipeline

    others = override({}, [change for change in changes if not _is_of_sampling(change)])
    return Pipeline.load(run, device=device, step=checkpoint, averaged=not raw, **others)


def _is_of_sampling(change: str) -> bool:
    return change.startswith("sampling.")


def merged(pipeline: "Pipeline", changes: list[str]) -> dict[str, Any]:
    """The settings of `sampling` that the changes touch, the rest of each component kept."""
    changes = [change for change in changes if _is_of_sampling(change)]
    after = override({"sampling": pipeline.config["sampling"]}, changes)["sampling"]
    return {key: after[key] for key in (change.partition("=")[0].split(".")[1] for change in changes)}
