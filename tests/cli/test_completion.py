"""What TAB offers, asked the way shells ask: through the environment variables of typer's completion scripts."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flowkit.cli.main import app
from flowkit.config.form import form_of
from flowkit.config.source import settings_in_source
from flowkit.plugins import installed_plugins


def offered(environment):
    result = CliRunner().invoke(app, [], prog_name="flowkit", env=environment)
    assert not result.stderr
    return [line for line in result.stdout.splitlines() if line]


def bash(line):
    """What bash is told: it splits words at `=` too; the last word is the one to complete."""
    words = line.replace("=", " = ").split(" ")
    words = [word for word in words[:-1] if word] + ([words[-1]] if words[-1] or not line.endswith("=") else [])
    return offered(
        {"_FLOWKIT_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    )


def fish(line):
    environment = {"_FLOWKIT_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return [offer.partition("\t")[0] for offer in offered(environment | {"_TYPER_COMPLETE_ARGS": line})]


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """A working folder without files."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("shell", [bash, fish])
@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("flowkit sho", {"show"}),
        ("flowkit list ", {"path", "integrator", "recipe"}),
        ("flowkit list sch", {"schedule"}),
        ("flowkit show re", {"recipe"}),
        ("flowkit show sam", {"sampling"}),
        ("flowkit list sam", set()),
        ("flowkit show path ", {"gaussian", "linear"}),
        ("flowkit show path gau", {"gaussian"}),
        ("flowkit show recipe m", {"moons"}),
        ("flowkit train m", {"moons"}),
        ("flowkit train moons netw", {"network=", "network."}),
        ("flowkit train moons path.sch", {"path.schedule=", "path.schedule."}),
        ("flowkit train moons network.wid", {"network.width=128"}),
        ("flowkit train moons training.see", {"training.seed=0"}),
        ("flowkit train moons network=unet network.mult", {"network.multipliers="}),
        ("flowkit train moons path.schedule=vp path.schedule.rate_mi", {"path.schedule.rate_min=0.1"}),
        ("flowkit sample runs/x --integrator hu", set()),
        ("flowkit sample runs/x --integrator he", {"heun"}),
        ("flowkit sample runs/x sampling.st", {"sampling.steps=50"}),
        ("flowkit sample runs/x netw", set()),
        ("flowkit evaluate runs/x --integrator rk", {"rk4"}),
    ],
)
def test_tab_offers_what_may_stand_there(shell, line, some):
    found = shell(line)
    last = line.rpartition(" ")[2]
    assert all(offer.startswith(last) for offer in found)
    assert set(found) == some if last else set(found) >= some


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("flowkit train moons network=", {"dit", "mlp", "unet"}),
        ("flowkit train moons network=u", {"unet"}),
        ("flowkit train moons path=gaussian path.schedule=co", {"condot", "cosine"}),
        ("flowkit sample runs/x sampling.integrator=dopri", {"dopri5"}),
        ("flowkit train moons training.steps=", set()),
        ("flowkit train moons network.width=", set()),
        ("flowkit train moons nothing.such=", set()),
    ],
)
def test_tab_after_an_equals_sign_offers_names(line, names):
    assert set(bash(line)) == names  # bash replaces what follows the sign, fish the whole word
    place = line.rpartition(" ")[2].partition("=")[0]
    assert set(fish(line)) == {f"{place}={name}" for name in names}


def test_yaml_files_are_offered_beside_the_recipes(tmp_path):
    (tmp_path / "mine.yaml").write_text("data: moons\n")
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/other.yml").write_text("")
    assert fish("flowkit train m") == ["moons", "mine.yaml", "more/"]
    assert fish("flowkit train more/") == ["more/other.yml"]
    (tmp_path / "mine.yaml").write_text("data: moons\nnetwork: unet\n")
    assert fish("flowkit train mine.yaml network.atten") == ["network.attention=true"]


def test_completion_imports_no_torch():
    code = (
        "import os, sys; from typer.testing import CliRunner; from flowkit.cli.main import app\n"
        "for line in ('flowkit train moons path.sch', 'flowkit train moons network.w', 'flowkit show path '):\n"
        "    env = {'_FLOWKIT_COMPLETE': 'complete_fish', '_TYPER_COMPLETE_FISH_ACTION': 'get-args'}\n"
        "    env['_TYPER_COMPLETE_ARGS'] = line\n"
        "    assert CliRunner().invoke(app, [], prog_name='flowkit', env=env).stdout, line\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_source_says_of_settings_is_what_the_constructor_says():
    registry = installed_plugins().registry
    for entry in registry:
        form = form_of(registry.load(entry), registry.kinds)
        said = {name for name, _, _ in settings_in_source(entry.target)}
        assert said - set(form.injected) == set(form.names), entry.target


@pytest.mark.parametrize("target", ["nowhere_at_all:X", "sys:X", "flowkit.plugins.api:Missing", "flowkit.nothing:X"])
def test_what_has_no_source_has_no_settings(target):
    assert settings_in_source(target) == []
