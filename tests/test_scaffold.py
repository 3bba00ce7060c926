"""`flowkit new` writes packages that install, pass their tests and `flowkit check`, and train, with no edit."""

import ast
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flowkit as fk
from flowkit.cli.main import app
from flowkit.plugins import KINDS, Kind, PluginManager, hookimpl

ROOT = Path(__file__).parents[1]
PUBLIC = {"flowkit", "flowkit.plugins", "flowkit.testing"}
TRY_OUT = """
import sys, pytest
assert pytest.main(["-q", "-p", "no:cacheprovider"]) == 0
from flowkit.cli.main import main
sys.argv = ["flowkit", "check", sys.argv[1]]
main()
"""


def run(*arguments, cwd, site=None):
    """Python, in a process that finds what is installed in the folder `site`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if site:
        environment["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    # -P: the current folder, which holds the sources, is not looked at
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(package, site):
    run(
        "-m",
        "pip",
        "-q",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        site,
        package,
        cwd=package,
    )


def try_out(package, site):
    """The tests of a package, and then `flowkit check`: what they print."""
    return run("-c", TRY_OUT, package.name, cwd=package, site=site)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A package with an example of every kind."""
    folder = tmp_path_factory.mktemp("new") / "flowkit-example"
    return fk.new_plugin("flowkit-example", kinds=list(KINDS), folder=folder)


@pytest.mark.slow
def test_a_package_of_all_kinds_passes_its_tests_and_the_checks(package, tmp_path):
    install(package.folder, tmp_path)
    printed = try_out(package.folder, tmp_path)
    assert "xfailed" not in printed
    assert "not checked" not in printed.splitlines()[-1]
    for kind in KINDS:
        assert f"{kind} example" in printed


def test_the_readme_gives_a_command_for_every_kind(package):
    commands = [line for line in (package.folder / "README.md").read_text().splitlines() if "flowkit train" in line]
    assert len(commands) == len(KINDS)
    assert all("example" in line for line in commands)


@pytest.mark.parametrize("name", ["flowkit-example", "x", "flowkit-rectified-diffusion"])
def test_it_is_linted_and_formatted(name, tmp_path):
    folder = fk.new_plugin(name, kinds=list(KINDS), folder=tmp_path / name).folder
    for command in (["check"], ["format", "--check"]):
        run("-m", "ruff", *command, "--no-cache", "--config", ROOT / "pyproject.toml", ".", cwd=folder)


def test_it_names_nothing_but_what_is_public(package):
    for file in package.folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "flowkit":
                assert node.module in PUBLIC, f"{file.name} imports {node.module}"
                exported = __import__(node.module, fromlist=["__all__"]).__all__
                assert {alias.name for alias in node.names} <= set(exported), file.name
            if isinstance(node, ast.Import):
                assert all(alias.name in PUBLIC for alias in node.names if alias.name.startswith("flowkit")), file.name


def test_it_is_written_without_torch(tmp_path):
    code = "import sys, flowkit; flowkit.new_plugin('flowkit-light'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(app, ["new", "flowkit-spiral", "--kind", "path", "--kind", "schedule"]).output
    for words in ("flowkit_spiral/path.py", "tests/test_schedule.py", "pip install -e", "flowkit check flowkit-spiral"):
        assert words in output
    assert "SpiralPath" in (tmp_path / "flowkit-spiral/flowkit_spiral/path.py").read_text()
    assert 'name="spiral"' in (tmp_path / "flowkit-spiral/flowkit_spiral/plugin.py").read_text()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("9lives", {}, "no name for a package"),
        ("-x", {}, "no name for a package"),
        ("class", {}, "no name for a package"),
        ("tests", {}, "folder of the tests"),
        ("Flowkit_Torch", {}, "flowkit-torch .* is installed"),
        ("json", {}, "would hide the module 'json'"),
        ("flowkit-2d", {}, "no name for a component"),
        ("flowkit-x", {"component": "X"}, "no name for a component"),
        ("flowkit-x", {"kinds": ["pth"]}, "no kind 'pth'.*did you mean 'path'"),
        ("flowkit-x", {"kinds": []}, "at least one kind is needed: data, source"),
    ],
)
def test_a_name_or_a_kind_that_will_not_do_is_refused_in_one_line(name, settings, words, tmp_path):
    with pytest.raises(fk.FlowkitError, match=words) as refusal:
        fk.new_plugin(name, folder=tmp_path / "new", **settings)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.py").write_text("")
    for folder in (tmp_path, tmp_path / "mine.py", tmp_path / "mine.py/below"):
        with pytest.raises(fk.ConfigError, match=r"is not empty|is a file"):
            fk.new_plugin("flowkit-spiral", folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_kind_without_an_example_is_refused_with_a_way_out(tmp_path):
    @hookimpl
    def flowkit_kinds():
        yield Kind("reward", "flowkit_reward.reward:Reward", "what samples are worth")

    plugins = PluginManager({})
    plugins.add(types.SimpleNamespace(flowkit_kinds=flowkit_kinds), "reward", "flowkit-reward", "0.3")
    with pytest.raises(fk.ConfigError, match=r"kind 'reward', which flowkit-reward 0.3 adds: .*Reward"):
        fk.new_plugin("flowkit-x", kinds=["reward"], folder=tmp_path / "new", plugins=plugins)


def test_a_component_whose_name_is_taken_is_called_by_its_qualified_name(tmp_path):
    plugin = fk.new_plugin("flowkit-heun", kinds=["integrator", "path"], folder=tmp_path / "new")
    assert plugin.notes == (
        "flowkit-torch has the integrator 'heun' too: yours is flowkit-heun/heun, as its README has it; "
        "--component chooses another name",
    )
    readme = (plugin.folder / "README.md").read_text()
    assert "sampling.integrator=flowkit-heun/heun" in readme
    assert "path=heun" in readme


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["path", "network", "callback"])
def test_a_package_of_one_kind_passes_its_tests_and_the_checks(kind, tmp_path):
    package = fk.new_plugin("flowkit-solo", kinds=[kind], folder=tmp_path / "flowkit-solo").folder
    install(package, tmp_path / "site")
    try_out(package, tmp_path / "site")


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["gaussian", "moons"])
def test_components_work_beside_those_that_have_their_name(taken, tmp_path):
    folder = tmp_path / "flowkit-second"
    package = fk.new_plugin("flowkit-second", kinds=list(KINDS), folder=folder, component=taken).folder
    install(package, tmp_path / "site")
    try_out(package, tmp_path / "site")


@pytest.mark.slow
def test_its_types_are_checked(package):
    # What `mypy` in the root has found out about the libraries is not found out again.
    settings = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    run("-m", "mypy", *settings, "flowkit_example", cwd=package.folder)


@pytest.mark.slow
def test_the_templates_are_installed_with_flowkit(tmp_path):
    install(ROOT, tmp_path)
    for file in (ROOT / "flowkit/templates").rglob("*.*"):
        assert (tmp_path / file.relative_to(ROOT)).is_file()
