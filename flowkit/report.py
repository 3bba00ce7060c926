"""The report of a run: one self-contained page put together from what the run folder holds. Imports no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from . import __version__
from .config.files import write_yaml
from .errors import ConfigError
from .export import check_place
from .files import replace_file
from .pipeline.run import RunFolder
from .plugins import Image, PluginManager, ReportBuilt, ReportDraft, installed_plugins
from .plugins.lifecycle import collect, tell

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .pipeline.pipeline import Pipeline

__all__ = ["Report", "check_page", "report", "write_report"]


@dataclass(frozen=True)
class Report:
    """What a report was made of.

    Arguments:
        path: The page.
        pictures: The pictures that were drawn.
        evaluations: What the metrics saw.
    """

    path: Path
    pictures: list[Path]
    evaluations: "list[Evaluation]"


def report(pipeline: "Pipeline", folder: str | Path, plugins: PluginManager | None = None) -> Report:
    """Draw the pictures of a run, measure samples, keep both in the run folder, and write the page."""
    from .pictures import draw_run

    run = RunFolder(folder)
    pictures, evaluations = draw_run(pipeline, folder), pipeline.evaluate()
    run.write_evaluation(evaluations, pipeline.step)
    return Report(write_report(folder, plugins=plugins), pictures, evaluations)


def check_page(folder: str | Path, out: Path | None = None) -> Path:
    """Where the page of a run goes.

    Raises:
        ConfigError: There is no run, or nothing can be written there.
    """
    run = RunFolder(folder)
    run.read_config()
    out = out or run.report_file
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; name a file, such as {out / 'report.html'}")
    check_place(out)
    return out


def write_report(folder: str | Path, out: Path | None = None, plugins: PluginManager | None = None) -> Path:
    """Put the page together from what is there; what is missing is left out, and the page says so.

    Arguments:
        folder: The run folder.
        out: Where to; `report.html` in the run folder by default.
        plugins: Who may add sections; the installed plugins by default.

    Raises:
        ConfigError: There is no run, or nothing can be written there.
    """
    run, plugins = RunFolder(folder), plugins or installed_plugins()
    out, config = check_page(folder, out), run.read_config()
    log, evaluation = run.metrics(), run.evaluation()
    draft = ReportDraft(folder=run.path, config=config, metrics=log, evaluation=evaluation)
    missing: list[str] = []
    page = _template().render(
        name=run.path.resolve().name,
        parts=[(part, _name(config.get(part))) for part in ("data", "path", "network", "head", "loss")],
        figures=list(_figures(config, log, run.step)),
        pictures=list(_pictures(run, log, missing)),
        rows=_rows(evaluation, missing),
        measured_at=evaluation.get("step"),
        step=run.step,
        from_plugins=collect(plugins, draft),
        config=write_yaml({key: value for key, value in config.items() if key != "provenance"}),
        provenance=_provenance(config),
        missing=missing,
        version=__version__,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, page)
    tell(plugins, ReportBuilt(folder=run.path, report=out))
    return out


def _template() -> Any:
    text = resources.files("flowkit").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)


def _figures(config: Mapping[str, Any], log: Sequence[Mapping[str, Any]], step: int) -> Iterator[tuple[str, str]]:
    training = config.get("training") or {}
    yield "Steps", f"{step:,} of {training.get('steps', 0):,}"
    if log:
        yield "Training time", _duration(_seconds(log))
        yield "Steps a second", f"{log[-1]['steps_per_second']:.4g}"
    if losses := [line["loss"] for line in log if line["loss"] is not None]:
        yield "Loss, last logged", f"{losses[-1]:.4g}"
    for setting in ("batch_size", "learning_rate", "seed"):
        if setting in training:
            yield setting.replace("_", " ").capitalize(), f"{training[setting]}"


def _seconds(log: Sequence[Mapping[str, Any]]) -> float:
    """How long training took: the steps before every line of the log, at the pace that it gives."""
    return sum(
        (line["step"] - before["step"]) / line["steps_per_second"]
        for before, line in zip([{"step": 0}, *log], log, strict=False)
        if line["steps_per_second"]
    )


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {int(seconds % 60)} s" if minutes >= 1 else f"{seconds:.1f} s"


def _pictures(run: RunFolder, log: Sequence[Mapping[str, Any]], missing: list[str]) -> Iterator[tuple[str, Image]]:
    losses = [line["loss"] for line in log if line["loss"] is not None]
    course = f": {losses[0]:.4g} when first logged, {losses[-1]:.4g} when last" if losses else ""
    beside = "; on the right metrics, in multiples of their floor" if run.measurements() else ""
    shown = {
        "samples.png": ("Samples", "data on the left, samples of the model on the right"),
        "trajectory.gif": ("From noise to data", "animation of samples on their way from t = 0 to t = 1"),
        "loss.png": ("Loss", f"the training loss over the steps{course}{beside}"),
    }
    for file, (title, alt) in shown.items():
        try:
            yield title, Image(run.path / file, alt)
        except FileNotFoundError:
            missing.append(f"{file}: not in the run folder")
        except (OSError, ValueError) as error:
            missing.append(f"{file}: {error}")


def _rows(evaluation: Mapping[str, Any], missing: list[str]) -> list[dict[str, str]]:
    """The table of metrics."""
    try:
        rows = [_row(line) for line in evaluation.get("metrics", ())]
    except (KeyError, TypeError, ValueError) as error:
        missing.append(f"evaluation.json: is damaged: {type(error).__name__}: {error}")
        return []
    if not rows:
        missing.append("evaluation.json: no metrics in the run folder")
    return rows


def _row(line: Mapping[str, Any]) -> dict[str, str]:
    def figure(name: str, digits: str) -> str:
        value, error = line[name], line[f"{name}_error"]
        if value is None:
            return "unknown"
        return f"{value:{digits}}" + ("" if error is None else f" ± {error:{digits}}")

    draws = f"{line['repeats']} draws" if line["repeats"] > 1 else "one draw"
    return {
        "metric": line["metric"] + (" (higher is better)" if line["higher_is_better"] else ""),
        "value": figure("value", ".4f"),
        "floor": figure("floor", ".4f"),
        "ratio": figure("ratio", ".2f"),
        "draws": f"{draws} of {line['samples']} a side",
    }


def _name(choice: Any) -> str:
    """The name of a component as a configuration writes it."""
    if not isinstance(choice, Mapping):
        return str(choice)
    return str(choice.get("name", choice.get("instance", "unknown")))


def _provenance(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What, package and version of everything that the run was made of."""
    recorded = config.get("provenance") or {}
    components = [(what, *str(origin).partition(" ")[::2]) for what, origin in recorded.get("components", {}).items()]
    return components + [("library", package, number) for package, number in recorded.get("packages", {}).items()]
