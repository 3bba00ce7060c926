"""`flowkit sample` and `flowkit evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import ConfigError, FlowkitError
from ..processes import launched
from .options import (
    CheckpointOption,
    IntegratorOption,
    Overrides,
    RawOption,
    RunArgument,
    StepsOption,
    changed,
    loaded,
    merged,
)

if TYPE_CHECKING:
    from ..interfaces.data import DataSpec

__all__ = ["evaluate", "sample"]


def sample(
    run: RunArgument,
    overrides: Overrides = None,
    n: Annotated[int, typer.Option("-n", help="How many samples.", min=1)] = 1000,
    out: Annotated[
        Path, typer.Option(help="Where to: .npy, .npz, .safetensors, .csv, or a folder of .png for images.")
    ] = Path("samples.npy"),
    label: Annotated[
        list[str] | None,
        typer.Option(help="A class, by its name, or its number if it has none; give several and they take turns."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed.", min=0)] = 0,
    integrator: IntegratorOption = None,
    steps: StepsOption = None,
    checkpoint: CheckpointOption = None,
    raw: RawOption = False,
) -> None:
    """Draw samples from a run into a file."""
    from ..export import check_writable
    from ..pipeline.run import RunFolder

    check_writable(out)
    changes = changed(overrides, integrator, steps)
    RunFolder(run).read_config()
    from safetensors import SafetensorError

    from ..sampling import Cost

    processes = launched()
    pipeline, cost = loaded(run, changes, checkpoint, raw, processes.device), Cost()
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
    checkpoint: CheckpointOption = None,
    raw: RawOption = False,
) -> None:
    """Measure samples of a run against its data."""
    changes = changed(overrides, integrator, steps)
    from .training import print_evaluations

    pipeline = loaded(run, changes, checkpoint, raw)
    results = pipeline.evaluate(seed=seed, **merged(pipeline, changes))
    print_evaluations(results, Console(highlight=False, soft_wrap=True))


def _class(text: str, spec: "DataSpec") -> int:
    """The index of a class that is given by its name; by its number where classes have no names."""
    if spec.num_classes is None:
        raise ConfigError(f"--label {text}: the data of this run have no labels")
    names = spec.class_names or tuple(map(str, range(spec.num_classes)))
    if text in names:
        return names.index(text)
    if text == "-1":
        return -1
    known = ", ".join(names) if spec.class_names else f"0 to {spec.num_classes - 1}"
    none = "" if "-1" in names else " (-1: none)"
    raise ConfigError(f"--label {text}: there is no such class; the classes are {known}{none}")


def _said(cost: Any) -> str:
    batches = f" in {cost.batches} batches" if cost.batches > 1 else ""
    rejected = f", {_counted(cost.rejected, 'step')} rejected" if cost.rejected else ""
    return f"{_counted(cost.evaluations, 'evaluation')} of the model{batches}{rejected}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")
