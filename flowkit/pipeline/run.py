"""The folder that a run lives in.

config.yaml        complete, with the plugins and versions it used
checkpoints/       the newest few
metrics.jsonl      one line every `training.log_every` steps, and a sign of life in between where steps are slow
samples.png, loss.png, trajectory.gif
evaluation.json    what the metrics saw
report.html        all of it on one page
"""

import json
import math
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.files import read_yaml, write_yaml
from ..errors import ConfigError, FlowkitError, FlowkitWarning, RunExistsError, TrainingInterrupted
from ..export import check_place
from ..files import replace_file
from ..interfaces.callback import Callback, TrainingState

if TYPE_CHECKING:
    from ..evaluation import Evaluation

__all__ = ["HEARTBEAT_SECONDS", "KeptConfig", "MetricsLog", "RunFolder"]

HEARTBEAT_SECONDS = 30
"""A training that lives writes to `metrics.jsonl` at least this often, unless one step takes longer."""


class RunFolder:
    """A run on disk.

    Arguments:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config_file(self) -> Path:
        """`config.yaml`."""
        return self.path / "config.yaml"

    @property
    def lock_file(self) -> Path:
        """`run.lock`, there while a process trains."""
        return self.path / "run.lock"

    @property
    def metrics_file(self) -> Path:
        """`metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation_file(self) -> Path:
        """`evaluation.json`."""
        return self.path / "evaluation.json"

    @property
    def report_file(self) -> Path:
        """`report.html`."""
        return self.path / "report.html"

    @property
    def step(self) -> int:
        """How many steps the newest checkpoint has behind it; 0 where there is none."""
        names = [place.name.removeprefix("step-") for place in self.path.glob("checkpoints/step-*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def check_free(self, resume: bool, overwrite: bool) -> None:
        """Refuse to touch what is there unless asked.

        Raises:
            RunExistsError: There is a run (or something else), and neither flag allows it; or there is none
                to resume.
            ConfigError: Nothing can be written there.
        """
        if resume and overwrite:
            raise RunExistsError("resume and overwrite exclude each other")
        try:
            is_run = self.config_file.is_file()
        except OSError as error:  # a name that is too long
            raise ConfigError(f"{self.path}: cannot be a run folder ({error.strerror})") from None
        if resume and not is_run:
            raise RunExistsError(f"{self.path}: there is no run to resume here")
        if self.path.exists() and not self.path.is_dir():
            raise RunExistsError(f"{self.path} is a file; a run needs a folder")
        checkpoints = self.path / "checkpoints"
        if checkpoints.exists() and not checkpoints.is_dir():
            raise RunExistsError(f"{checkpoints} is a file, in the place of the folder of checkpoints: move it away")
        check_place(self.path)
        # A run that was killed before it began may leave a part of its configuration.
        leftovers = {"config.yaml.partial", self.lock_file.name}
        begun = self.path.exists() and any(file.name not in leftovers for file in self.path.iterdir())
        if resume or not begun:
            return
        if not is_run:
            raise RunExistsError(f"{self.path} is not empty and holds no run; choose another folder (--out)")
        if not overwrite:
            raise RunExistsError(
                f"{self.path} already holds a run; go on with it (--resume, resume=True), replace it (--overwrite, "
                f"overwrite=True), or choose another folder (--out)"
            )

    def start(self, config: Mapping[str, Any]) -> None:
        """Begin a run here, in place of whatever run was here before."""
        if self.config_file.is_file():
            for name in ("checkpoints", "config.yaml", "metrics.jsonl"):
                target = self.path / name
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            for result in ("samples.png", "loss.png", "trajectory.gif", "evaluation.json", "report.html"):
                (self.path / result).unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write `config.yaml`, if it does not say so already."""
        text = write_yaml(config)
        if not self.config_file.is_file() or self.config_file.read_text("utf-8", "replace") != text:
            replace_file(self.config_file, text)

    def read_config(self) -> dict[str, Any]:
        """What `config.yaml` holds.

        Raises:
            ConfigError: There is no run here.
        """
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path}: there is no run here (no config.yaml)")
        return read_yaml(self.config_file)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl` that tell a loss."""
        return [line for line in self.log() if "loss" in line]

    def measurements(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl` that tell what the metrics saw amid training."""
        return [line for line in self.log() if isinstance(line.get("metrics"), dict)]

    def log(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, signs of life too; what a crash has cut short or damaged is passed over."""
        if not self.metrics_file.is_file():
            return []
        found = []
        for line in self.metrics_file.read_text("utf-8", "replace").splitlines():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict) and type(line.get("step")) is int]

    def write_evaluation(self, evaluations: Sequence["Evaluation"], step: int | None = None) -> None:
        """Write `evaluation.json`: what the metrics saw, after how many steps. A figure that is unknown is null.

        Arguments:
            evaluations: What they saw.
            step: After how many steps; by default those of the newest checkpoint.
        """
        metrics = [asdict(evaluation) | {"ratio": evaluation.ratio} for evaluation in evaluations]
        lines = [{key: _known(value) for key, value in metric.items()} for metric in metrics]
        held = {"step": self.step if step is None else step, "metrics": lines}
        replace_file(self.evaluation_file, json.dumps(held, indent=1) + "\n")

    def evaluation(self) -> dict[str, Any]:
        """What `evaluation.json` holds; nothing where it is missing or damaged."""
        with suppress(OSError, ValueError):
            held = json.loads(self.evaluation_file.read_text(encoding="utf-8"))
            return held if isinstance(held, dict) else {}
        return {}


class KeptConfig(Callback):
    """Writes `config.yaml` when a training begins: one that is refused leaves the file as it was.

    Arguments:
        run: The run.
        config: What to write.
    """

    def __init__(self, run: RunFolder, config: Mapping[str, Any]) -> None:
        self.run, self.config = run, config

    def training_started(self, state: TrainingState) -> None:
        """Write it."""
        self.run.write_config(self.config)


class MetricsLog(Callback):
    """Writes `metrics.jsonl`; after a resumption, lines from beyond the checkpoint are dropped.

    Arguments:
        run: The run.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._alive_at = 0.0
        self._has_choice = self._has_warned = False

    def training_started(self, state: TrainingState) -> None:
        """Keep the lines up to the step that training starts from."""
        told = (line for line in self.run.log() if "loss" in line or "metrics" in line)
        kept = [line for line in told if line["step"] <= state.step]
        replace_file(self.run.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))
        self._alive_at, self._has_choice = time.monotonic(), False

    def progressed(self, state: TrainingState) -> None:
        """Add a sign of life where the last line is long ago."""
        if time.monotonic() - self._alive_at > HEARTBEAT_SECONDS:
            self._add({"step": state.step})

    def logged(self, state: TrainingState) -> None:
        """Add a line; the first after `training.compile: auto` has decided also says what."""
        line: dict[str, Any] = {
            "step": state.step,
            "loss": sum(state.losses) / len(state.losses) if state.losses else None,
            "learning_rate": state.learning_rate,
            "steps_per_second": round(state.steps_per_second, 2),
        }
        if state.step_choice and not self._has_choice:
            self._has_choice = True
            line |= {"compiled": state.step_choice.compiled, "compiled_because": state.step_choice.why}
        self._add(line)

    def evaluated(self, state: TrainingState) -> None:
        """Add a line with what the metrics saw."""
        seen = {one.metric: {"value": _known(one.value), "floor": _known(one.floor)} for one in state.evaluations}
        self._add({"step": state.step, "metrics": seen})

    def training_ended(self, state: TrainingState) -> None:
        """Say so, and why, where training ends before its last step, as far as the disk has room for it."""
        line: dict[str, Any] = {"step": state.step, "ended": True}
        if isinstance(state.error, Exception) and not isinstance(state.error, TrainingInterrupted):
            kind = "" if isinstance(state.error, FlowkitError) else f"{type(state.error).__name__}: "
            self._add(line | {"error": kind + " ".join(str(state.error).split())[:500]})
        elif state.step < state.steps:
            self._add(line | ({} if state.stopped_because is None else {"because": state.stopped_because}))

    def _add(self, line: dict[str, Any]) -> None:
        """Write a line; where the disk is full, say so once and let training go on: checkpoints decide what is kept."""
        self._alive_at = time.monotonic()
        try:
            with self.run.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"time": round(time.time(), 1)}) + "\n")
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                text = f"{self.run.metrics_file}: could not be written ({error.strerror}); training goes on without it"
                warnings.warn(text, FlowkitWarning, stacklevel=2)


def _known(value: Any) -> Any:
    """JSON has no number for what is unknown or infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
