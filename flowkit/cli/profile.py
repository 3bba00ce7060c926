"""`flowkit profile`: where the time of a step goes."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..export import check_place
from ..plugins.manager import installed_plugins
from .completion import complete_config, complete_override
from .training import settled_config

__all__ = ["profile"]


def profile(
    config: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a recipe (flowkit list recipe).", autocompletion=complete_config
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings to change, such as training.batch_size=64.",
            metavar="[S.K=V]...",
            autocompletion=complete_override,
        ),
    ] = None,
    sampling: Annotated[bool, typer.Option("--sampling", help="Sampling in place of training.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Steps of training to profile (50), or batches of samples (1).", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where pictures and traces go; profiles/NAME by default.")] = None,
) -> None:
    """See where the time of a training step goes, or that of sampling."""
    folder = out or Path("profiles") / Path(config.rpartition("/")[2]).stem
    if folder.is_file():
        raise ConfigError(f"--out {folder}: is a file; pictures and traces go into a folder")
    check_place(folder)
    plugins = installed_plugins()
    settled = settled_config(config, overrides, plugins)
    from ..pipeline.pipeline import Pipeline
    from ..profiling.sampling import profile_sampling
    from ..profiling.training import profile as profile_training

    pipeline = Pipeline(settled, plugins)
    if sampling:
        found = profile_sampling(pipeline, steps or 1, folder)
    else:
        found = profile_training(pipeline, steps or 50, folder)
    print(found)
    print(f"\npicture {folder / 'profile.png'}\ntrace   {folder / 'trace.json'} (for https://ui.perfetto.dev)")
