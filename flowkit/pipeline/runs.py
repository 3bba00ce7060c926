"""The runs in a folder and how each stands, read from its files alone: nothing is loaded."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..locks import is_held
from .resume import COMPARED
from .run import HEARTBEAT_SECONDS, RunFolder

__all__ = ["RunState", "list_runs"]


@dataclass(frozen=True)
class RunState:
    """How a run stands.

    Arguments:
        path: Its folder.
        state: `complete`: all steps are done, or a callback found those enough; `training`: a process holds its folder,
            or it gave a sign of life a moment ago; `stopped`: it can be resumed from its newest checkpoint; `failed`:
            so too, but see `what`; `unreadable`: see `what`.
        step: Steps in the newest checkpoint, or done since, as far as its log says.
        steps: Steps to do in all; 0 where that cannot be read.
        loss: The last one logged.
        seen: When it last wrote to its log, in seconds since 1970; None if never.
        what: Data, path, network and loss by name; of a failed or unreadable run the reason.
        settings: Those in which it differs from other runs of the same data, path, network and loss in the list.
        metric: The first that was measured at its newest checkpoint, with its label: `2-Wasserstein 0.061`; or empty.
    """

    path: Path
    state: Literal["complete", "training", "stopped", "failed", "unreadable"]
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seen: float | None = None
    what: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str = ""


def list_runs(folder: str | Path = "runs") -> list[RunState]:
    """Every run below a folder, by its path.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder")
    files = sorted(folder.rglob("config.yaml"))
    return _told_apart([_state(run) for run in (RunFolder(file.parent) for file in files) if _is_run(run)])


def _is_run(run: RunFolder) -> bool:
    """Whether a folder with a `config.yaml` is a run: what was trained or begun there is seen beside a damaged one."""
    if run.metrics_file.exists() or (run.path / "checkpoints").exists():
        return True
    try:  # only a run writes down where its components came from
        return "provenance:" in run.config_file.read_text("utf-8", "replace")
    except OSError:
        return False


def _told_apart(found: Sequence[tuple[RunState, Mapping[str, Any]]]) -> list[RunState]:
    """The runs, each with the settings in which it differs from others of the same parts: what a sweep has varied.

    A setting that others do not have, as they are older or chose another component, is no difference to them.
    """
    every = [(run, _what(config), dict(_settings(config))) for run, config in found]
    first: dict[tuple[str, str], Any] = {}
    varied = {
        (what, where)
        for _, what, settings in every
        for where, value in settings.items()
        if first.setdefault((what, where), value) != value
    }
    return [
        replace(run, settings={where: settings[where] for where in sorted(settings) if (what, where) in varied})
        for run, what, settings in every
    ]


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What was chosen, by where it stands; the name of a component stands for it, beside its settings."""
    for section in COMPARED:
        yield from _chosen(config.get(section), section)


def _chosen(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield where, value
        return
    if name := _name(value):
        yield where, name
    for key in value.keys() - {"name", "instance"}:
        yield from _chosen(value[key], f"{where}.{key}")


def _state(run: RunFolder) -> tuple[RunState, Mapping[str, Any]]:
    """How a run stands, and its configuration."""
    try:
        config = run.read_config()
        steps = int(config["training"]["steps"])
        log = run.log()
    except (ConfigError, OSError) as error:
        return RunState(run.path, "unreadable", what=" ".join(str(error).split())), {}
    except (KeyError, TypeError, ValueError):
        what = f"{run.config_file}: does not say training.steps: it is damaged"
        return RunState(run.path, "unreadable", what=what), {}
    losses = [line["loss"] for line in log if line.get("loss") is not None]
    seen = log[-1].get("time") if log else None
    seen = seen if isinstance(seen, int | float) else None
    saved = run.step
    state: Literal["complete", "training", "stopped", "failed"] = "stopped"
    if saved >= steps or (log and "because" in log[-1] and saved >= log[-1]["step"]):
        state = "complete"
    elif is_held(run.lock_file):
        state = "training"
    elif log and "error" in log[-1]:
        state = "failed"
    elif seen is not None and not log[-1].get("ended") and time.time() - seen < 3 * HEARTBEAT_SECONDS:
        state = "training"
    what = str(log[-1]["error"]) if state == "failed" else _what(config)
    step = max(saved, log[-1]["step"]) if log and state == "training" else saved
    loss = losses[-1] if losses else None
    return RunState(run.path, state, step, steps, loss, seen, what, metric=_metric(run)), config


def _metric(run: RunFolder) -> str:
    held = run.evaluation()
    if held.get("step", run.step) != run.step:  # measured before it went on
        return ""
    try:
        first = held["metrics"][0]
        return f"{first['metric']} {first['value']:.4g}"
    except (KeyError, IndexError, TypeError, ValueError):
        return ""


def _what(config: Mapping[str, Any]) -> str:
    parts = (config.get(kind) for kind in ("data", "path", "network", "loss"))
    return ", ".join(_name(part) for part in parts if isinstance(part, Mapping))


def _name(part: Mapping[str, Any]) -> str:
    """The name of a component, or of the class of an object; empty for settings of none."""
    return str(part.get("name") or str(part.get("instance", "")).rpartition(":")[2])
