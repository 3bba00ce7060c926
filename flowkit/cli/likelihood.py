"""`flowkit likelihood`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import ConfigError
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
    from torch import Tensor

    from ..batch import Batch
    from ..divergence import Divergence
    from ..interfaces.data import DataSource

__all__ = ["likelihood"]


def likelihood(
    run: RunArgument,
    overrides: Overrides = None,
    n: Annotated[int, typer.Option("-n", help="How many data points.", min=2)] = 256,
    probes: Annotated[
        int, typer.Option(help="Estimate the divergence from so many probes (Hutchinson); 0: find it exactly.", min=0)
    ] = 0,
    rank: Annotated[
        int | None, typer.Option(help="With probes: exact on so many directions besides (Hutch++).", min=1)
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            help="The data take values in steps of this: add uniform noise of one step, and tell bits per dimension."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of points, noise and probes.", min=0)] = 0,
    integrator: IntegratorOption = None,
    steps: StepsOption = None,
    checkpoint: CheckpointOption = None,
    raw: RawOption = False,
) -> None:
    """Find the density of a run's ODE at points of its data."""
    if rank is not None and not probes:
        raise ConfigError("--rank: is of an estimate from --probes, of which there are 0")
    if spacing is not None and not spacing > 0:
        raise ConfigError(f"--spacing: should be greater than 0; got {spacing:g}")
    changes = changed(overrides, integrator, steps)

    from ..likelihood import bits_per_dim

    pipeline = loaded(run, changes, checkpoint, raw)
    batch = _points(pipeline.data, n, seed, spacing)
    labels = None if isinstance(batch.y, Mapping) else batch.y
    found = pipeline.estimate_log_prob(
        batch.z, labels, divergence=_divergence(probes, rank), seed=seed, **merged(pipeline, changes)
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"log density of {len(found.value)} data points: {_mean(found.value)} nats")
    if probes > 1:
        off = (found.standard_error.square().sum().sqrt() / len(found.value)).item()
        console.print(f"of which ± {off:.2g} from estimating the divergence")
    if spacing is not None:
        console.print(f"bits per dimension: {_mean(bits_per_dim(found.value, pipeline.spec.event_shape, spacing))}")


def _points(data: "DataSource", n: int, seed: int, spacing: float | None) -> "Batch":
    """Data points, each once if there is a finite number; with noise of one step."""
    import torch

    from ..batch import Batch
    from ..interfaces.data import Dataset

    generator = torch.Generator().manual_seed(seed)
    if isinstance(data, Dataset):
        batch = data.take(torch.randperm(len(data), generator=generator)[:n])
    else:
        batch = data.draw(n, generator)
    if spacing is None:
        return batch
    return Batch(batch.z + spacing * torch.rand(batch.z.shape, generator=generator), batch.y)


def _divergence(probes: int, rank: int | None) -> "Divergence":
    from ..divergence import ExactDivergence, Hutchinson, HutchPlusPlus

    if not probes:
        return ExactDivergence()
    return Hutchinson(probes) if rank is None else HutchPlusPlus(rank, probes)


def _mean(values: "Tensor") -> str:
    """With its standard error, which what the divergence is off by is part of."""
    values = values.double()
    return f"{values.mean().item():.4f} ± {(values.std() / len(values) ** 0.5).item():.2g}"
