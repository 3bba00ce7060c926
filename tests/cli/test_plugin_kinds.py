"""A kind that an installed package adds, on the command line: listed, shown, completed, in the schema, in a run."""

import json

import pytest
from typer.testing import CliRunner

from flowkit.cli.main import app
from flowkit.plugins import installed_plugins

FILES = {
    "flowkit_clocks.py": """
from flowkit.plugins import Component, Kind, hookimpl

@hookimpl
def flowkit_kinds():
    yield Kind("clock", "clocks:Clock", "what tells the time")

@hookimpl
def flowkit_components():
    yield Component("clock", "sundial", "clocks:Sundial", "no batteries")
    yield Component("time", "clocked", "clocks:Clocked", "times from a clock")
    yield Component("chime", "westminster", "clocks:Chime", "of a kind that nobody has installed")
""",
    "clocks.py": '''
import torch
import flowkit as fk

class Clock:
    """What tells the time."""

    def now(self) -> float:
        """The time."""

class Sundial(Clock):
    """The time is where the shadow falls.

    Arguments:
        hour: Between 0 and 1.
    """

    def __init__(self, hour: float = 0.5) -> None:
        self.hour = hour

class Clocked(fk.TimeSampler):
    """Always the time of the clock."""

    def __init__(self, clock: Clock = Sundial()) -> None:
        self.clock = clock

    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        return torch.full((n,), self.clock.hour, device=device, dtype=dtype)
''',
    "flowkit_clocks-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: flowkit-clocks\nVersion: 1.0\n",
    "flowkit_clocks-1.0.dist-info/entry_points.txt": "[flowkit]\nclocks = flowkit_clocks\n",
}


@pytest.fixture
def flowkit(tmp_path, monkeypatch):
    """The command, with the package installed."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    installed_plugins.cache_clear()
    yield lambda *arguments, **environment: CliRunner().invoke(app, arguments, prog_name="flowkit", env=environment)
    installed_plugins.cache_clear()


def test_the_kind_is_used_like_those_of_the_core(flowkit, tmp_path):
    assert "no batteries" in flowkit("list", "clock").stdout
    listed = flowkit("list")
    assert "sundial" in listed.stdout
    assert "'westminster' is of an unknown kind 'chime'" in listed.stderr
    shown = flowkit("show", "clock").stdout
    assert "clocks:Clock, from flowkit-clocks 1.0" in shown
    assert "now()" in shown
    assert "Between 0 and 1." in flowkit("show", "clock", "sundial").stdout
    assert "kind clock, sundial, clocked" in flowkit("plugins").stdout
    definitions = json.loads(flowkit("schema").stdout)["$defs"]
    assert definitions["time.clocked"]["properties"]["clock"]["default"] == "sundial"
    assert definitions["clock.sundial"]["properties"]["hour"]["default"] == 0.5
    line = "flowkit train moons loss.time=clocked loss.time.clock=s"
    environment = {"_FLOWKIT_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert flowkit(**environment, _TYPER_COMPLETE_ARGS=line).stdout.startswith("loss.time.clock=sundial")
    settings = ["loss.time=clocked", "loss.time.clock.hour=0.25", "training.steps=2", "training.batch_size=8"]
    done = flowkit("train", "moons", *settings, "--no-report")
    assert done.exit_code == 0, done.output
    stored = (tmp_path / "runs/moons/config.yaml").read_text()
    assert "clock/sundial: flowkit-clocks 1.0" in stored
    assert "plugin_api: 1" in stored
    assert "hour: 0.25" in stored
