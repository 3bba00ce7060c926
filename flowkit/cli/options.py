"""What the commands that sample a run have in common: which run, and which settings of sampling are changed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.files import override
from ..errors import ConfigError
from .completion import complete_integrator, complete_sampling_override

__all__ = ["IntegratorOption", "Overrides", "RunArgument", "StepsOption", "changed", "merged"]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings of sampling to change, such as sampling.guidance.scale=3.",
        metavar="[S.K=V]...",
        autocompletion=complete_sampling_override,
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="The run folder.")]
IntegratorOption = Annotated[
    str | None,
    typer.Option(help="Another integrator (flowkit list integrator).", autocompletion=complete_integrator),
]
StepsOption = Annotated[int | None, typer.Option(help="Another number of steps.")]


def changed(overrides: list[str] | None, integrator: str | None, steps: int | None) -> list[str]:
    """What a command changes of the section `sampling`, as overrides.

    Raises:
        ConfigError: An override is of another section.
    """
    for change in overrides or []:
        if not change.startswith("sampling."):
            raise ConfigError(f"{change!r}: of a trained run only the section 'sampling' can be changed")
    options = [f"sampling.integrator={integrator}"] if integrator is not None else []
    options += [f"sampling.steps={steps}"] if steps is not None else []
    return [*options, *(overrides or [])]  # in this order, for overrides may be settings of the integrator


def merged(pipeline: Any, changes: list[str]) -> dict[str, Any]:
    """The settings of `sampling` that the changes touch, the rest of each component kept."""
    after = override({"sampling": pipeline.config["sampling"]}, changes)["sampling"]
    return {key: after[key] for key in (change.partition("=")[0].split(".")[1] for change in changes)}
