"""`flowkit train`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..config.files import override, read_yaml
from ..errors import ConfigError, TrainingInterrupted
from ..plugins.manager import PluginManager, installed_plugins
from ..processes import launched
from .completion import complete_config, complete_override
from .console import lasting_console

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = ["given_config", "settled_config", "train"]


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a recipe (flowkit list recipe).", autocompletion=complete_config
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings to change, such as training.steps=500.",
            metavar="[S.K=V]...",
            autocompletion=complete_override,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Leave out pictures, metrics and report.html.")
    ] = False,
) -> None:
    """Train a model: a recipe by its name, or your own configuration."""
    plugins = installed_plugins()
    folder = out or Path("runs") / Path(config.rpartition("/")[2]).stem
    settled = settled_config(config, overrides, plugins)
    from ..pipeline.run import RunFolder

    RunFolder(folder).check_free(resume, overwrite)
    from ..pipeline.pipeline import Pipeline
    from ..pipeline.provenance import provenance, version_changes
    from ..pipeline.resume import changes, check_same, files_of, of_today
    from ..progress import ProgressBar
    from ..training.checkpoint import latest_checkpoint

    processes = launched()
    console = lasting_console(highlight=False, soft_wrap=True, quiet=not processes.is_main)
    pipeline = Pipeline(settled, plugins)
    parts = settled.components
    console.print(
        f"{parts['data'].name}: {parts['path'].name} path, {parts['network'].name} network "
        f"({sum(p.numel() for p in pipeline.model.parameters()):,} weights), {parts['loss'].name} loss, "
        f"{settled.training.steps} steps" + (f", {processes.world} processes" if processes.world > 1 else "")
    )
    if resume and latest_checkpoint(folder) is None:
        console.print("this run has no checkpoint yet: starting from the first step")
    if settled.training.warmup_steps > settled.training.steps / 2:
        warmup, steps = settled.training.warmup_steps, settled.training.steps
        console.print(f"note: the learning rate rises for {warmup} steps, of {steps} in all (training.warmup_steps)")
    if resume:
        stored = RunFolder(folder).read_config()
        begun = of_today(stored, plugins)
        check_same(begun, pipeline.config, files_of(settled, "data"))
        other_versions = version_changes(stored.get("provenance"), provenance(settled))
        for where, before, now in (*other_versions, *changes(begun, pipeline.config)):
            console.print(f"{where}: {before} -> {now}")
    try:
        pipeline.fit(folder, resume=resume, overwrite=overwrite, callbacks=[ProgressBar(console)])
    except TrainingInterrupted as error:
        options = ["--out", str(folder), "--resume", *(["--no-report"] if no_report else [])]
        again = processes.again(["train", config, *(overrides or []), *options])
        error.args = (f"{error}\ngo on with: {again}",)
        raise
    if processes.is_main:
        _report(pipeline, folder, console, no_report)


def settled_config(name: str, overrides: list[str] | None, plugins: PluginManager) -> "Config":
    """What a YAML file or a recipe says, with the overrides, complete."""
    written = given_config(name, plugins)
    given = override(written, overrides or [])
    from ..config.config import read_config

    # A recipe is known to be right; what a file says is not.
    config = read_config(given, plugins, recipe=None if is_file(name) else written)
    if any(change.startswith("sampling.steps=") for change in overrides or []):
        config.warn_of_steps(plugins.registry)
    return config


def is_file(name: str) -> bool:
    """Whether a configuration is named by its YAML file, not as a recipe."""
    return Path(name).suffix in (".yaml", ".yml")


def given_config(name: str, plugins: PluginManager) -> dict[str, Any]:
    """What a YAML file or a recipe says."""
    path = Path(name)
    if is_file(name):
        return read_yaml(path)
    if path.is_file():
        raise ConfigError(f"{name}: a configuration file should end in .yaml")
    if (path / "config.yaml").is_file():
        raise ConfigError(f"{name}: is a run; its configuration is {path / 'config.yaml'}")
    if "=" in name and "/" not in name.partition("=")[0]:
        raise ConfigError(f"{name!r}: is a setting; a recipe or a configuration file goes before it")
    from ..pipeline.recipes import recipe_config

    return recipe_config(name, plugins)


def _report(pipeline: Any, folder: Path, console: Console, no_report: bool) -> None:
    if not no_report:
        try:
            with console.status("drawing and measuring samples"):
                report = pipeline.report(folder)
        except KeyboardInterrupt:
            console.print(f"the run in {folder} is complete; its report is not: flowkit report --draw {folder}")
            raise
        print_evaluations(report.evaluations, console)
        console.print(f"pictures  {', '.join(str(picture) for picture in report.pictures)}")
        console.print(f"report    {report.path}")
    console.print(f"run       {folder} (config.yaml, checkpoints/, metrics.jsonl)")
    images = pipeline.spec.image_range is not None
    wanted = ["-n", "100", "--out", "samples"] if images else ["-n", "5000", "--out", "samples.npy"]
    console.print(f"next      {shlex.join(['flowkit', 'sample', str(folder), *wanted])}", style="bold")


def print_evaluations(evaluations: list[Any], console: Console) -> None:
    """A line for every metric, the figure beside the one of a perfect model."""
    for result in evaluations:
        several = result.repeats > 1
        value, floor = (
            f"{mean:.4f}" + (f" ± {error:.4f}" if several else "")
            for mean, error in ((result.value, result.value_error), (result.floor, result.floor_error))
        )
        ratio = f"{result.ratio:.2f}" + (f" ± {result.ratio_error:.2f}" if several else "")
        better = " (higher is better)" if result.higher_is_better else ""
        draws = f"mean of {result.repeats} draws" if several else "one draw"
        console.print(
            f"{result.metric}{better}: {value}   data against data: {floor}   ratio {ratio}   "
            f"({draws} of {result.samples} samples a side)"
        )
