"""The runs in a folder and how each stands, read from its files alone: nothing is loaded."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..locks import is_held
from .resume import changes
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
        settings: Those in which it differs from other runs of the same `what` in the list.
        metric: The first that was measured at its end, with its label: `2-Wasserstein 0.061`; empty if none was.
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
    """The runs, each with the settings in which it differs from others of the same parts: what a sweep has varied."""
    first: dict[str, Mapping[str, Any]] = {}
    common: dict[str, dict[str, Any]] = {}
    own: list[dict[str, Any]] = []
    for run, config in found:
        others = changes(first.setdefault(run.what, config), config)
        common.setdefault(run.what, {}).update({where: before for where, before, _ in others})
        own.append({where: now for where, _, now in others})
    every = [common[run.what] | mine for (run, _), mine in zip(found, own, strict=True)]
    return [replace(run, settings=dict(sorted(mine.items()))) for (run, _), mine in zip(found, every, strict=True)]


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
    try:
        first = run.evaluation()["metrics"][0]
        return f"{first['metric']} {first['value']:.4g}"
    except (KeyError, IndexError, TypeError, ValueError):
        return ""


def _what(config: Mapping[str, Any]) -> str:
    parts = (config.get(kind) for kind in ("data", "path", "network", "loss"))
    named = (
        part.get("name") or str(part.get("instance")).rpartition(":")[2] for part in parts if isinstance(part, Mapping)
    )
    return ", ".join(map(str, named))
