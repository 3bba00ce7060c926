"""`flowkit sample` and `flowkit evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..config.files import override
from ..errors import ConfigError, FlowkitError
from ..processes import launched
from .completion import complete_integrator, complete_sampling_override

if TYPE_CHECKING:
    from ..interfaces.data import DataSpec

__all__ = ["IntegratorOption", "Overrides", "RunArgument", "StepsOption", "changed", "evaluate", "merged", "sample"]

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


def sample(
    run: RunArgument,
    overrides: Overrides = None,
    n: Annotated[int, typer.Option("-n", help="How many samples.", min=1)] = 1000,
    out: Annotated[
        Path, typer.Option(help="Where to: .npy, .npz, .safetensors, .csv, or a folder of .png for images.")
    ] = Path("samples.npy"),
    label: Annotated[
        list[str] | None, typer.Option(help="A class, by number or name; give several and they take turns.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed.", min=0)] = 0,
    integrator: IntegratorOption = None,
    steps: StepsOption = None,
) -> None:
    """Draw samples from a run into a file."""
    from ..export import check_writable
    from ..pipeline.run import RunFolder

    check_writable(out)
    changes = changed(overrides, integrator, steps)
    RunFolder(run).read_config()
    from safetensors import SafetensorError

    from ..pipeline.pipeline import Pipeline
    from ..sampling import Cost

    processes = launched()
    pipeline, cost = Pipeline.load(run, device=processes.device), Cost()
    classes = [_class(text, pipeline.spec) for text in label or []]
    y = [classes[i % len(classes)] for i in range(n)] if classes else None
    try:
        pipeline.sample_to(out, n, y, seed=seed, cost=cost, **merged(pipeline, changes))
    except (OSError, SafetensorError) as error:
        raise FlowkitError(
            f"--out {out}: could not be written ({error}); what was drawn is kept beside it, and the same command "
            f"goes on"
        ) from error
    shape = " x ".join(str(size) for size in (n, *pipeline.spec.event_shape))
    console = Console(highlight=False, soft_wrap=True, quiet=not processes.is_main)
    console.print(f"{shape} samples in {out}")
    console.print(_said(Cost(*processes.total(cost.evaluations, cost.rejected, cost.batches))))


def evaluate(
    run: RunArgument,
    overrides: Overrides = None,
    seed: Annotated[int, typer.Option(help="The seed.", min=0)] = 0,
    integrator: IntegratorOption = None,
    steps: StepsOption = None,
) -> None:
    """Measure samples of a run against its data."""
    changes = changed(overrides, integrator, steps)
    from ..pipeline.pipeline import Pipeline
    from .training import print_evaluations

    pipeline = Pipeline.load(run)
    results = pipeline.evaluate(seed=seed, **merged(pipeline, changes))
    print_evaluations(results, Console(highlight=False, soft_wrap=True))


def _class(text: str, spec: "DataSpec") -> int:
    """The number of a class that is given by its number or its name."""
    if spec.num_classes is None:
        raise ConfigError(f"--label {text}: the data of this run have no labels")
    if text in spec.class_names:
        return spec.class_names.index(text)
    if text.removeprefix("-").isdigit() and -1 <= int(text) < spec.num_classes:
        return int(text)
    known = f"{', '.join(spec.class_names)}, or by number " if spec.class_names else ""
    raise ConfigError(
        f"--label {text}: there is no such class; the classes are {known}0 to {spec.num_classes - 1} (-1: none)"
    )


def _said(cost: Any) -> str:
    batches = f" in {cost.batches} batches" if cost.batches > 1 else ""
    rejected = f", {_counted(cost.rejected, 'step')} rejected" if cost.rejected else ""
    return f"{_counted(cost.evaluations, 'evaluation')} of the model{batches}{rejected}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


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
