"""A stranger's package, made of the README's text alone, installed with pip beside flowkit and used in every way."""

import contextlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
QUICK = [
    *("training.steps=30", "training.batch_size=64", "training.log_every=10"),
    *("sampling.steps=5", "evaluation.samples=64", "evaluation.repeats=1"),
]


COMMANDS = """
import json, sys
from command import flowkit

for line in sys.stdin:
    arguments, cwd, code = json.loads(line)
    print(json.dumps(flowkit(*arguments, cwd=cwd, code=code)), flush=True)
"""
VARIABLES = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Environment:
    """A virtual environment that sees the libraries of this one, and whose own packages come and go."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "bin/python"

    @classmethod
    def new(cls, folder):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (own,) = (folder / "lib").glob("python*/site-packages")
        libraries = [path for path in (*site.getsitepackages(), site.getusersitepackages()) if Path(path).is_dir()]
        lines = [f"import site; site.addsitedir({path!r})" for path in libraries]
        (own / "libraries.pth").write_text("\n".join(lines))
        return cls(folder)

    def copy(self, folder):
        """Another one with the same packages."""
        return Environment(Path(shutil.copytree(self.folder, folder, symlinks=True)))

    def pip(self, *arguments):
        # Nothing is fetched: pip, the build backend and the dependencies are the libraries of this environment.
        offline = ["--no-index", "--no-deps", "--no-build-isolation"] if arguments[0] == "install" else ["-y"]
        self.run("-m", "pip", "-q", arguments[0], *offline, *arguments[1:])

    def run(self, *arguments, cwd=None, code=0):
        done = subprocess.run(
            [self.python, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **VARIABLES},
            capture_output=True,
            text=True,
            timeout=300,
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        assert "Traceback" not in output
        return output

    @contextlib.contextmanager
    def commands(self):
        """Runs commands of flowkit one after another in one process of this environment."""
        environment = {**os.environ, **VARIABLES, "PYTHONPATH": str(Path(__file__).parents[1])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([self.python, "-c", COMMANDS], env=environment, **pipes) as process:

            def flowkit(*arguments, cwd, code=0):
                print(json.dumps([arguments, str(cwd), code]), file=process.stdin, flush=True)
                answer = process.stdout.readline()
                assert answer, "the process ended; above is why"
                return json.loads(answer)

            yield flowkit
            process.stdin.close()


def write_package(text, folder):
    """The files that the code blocks of a page name in their first line."""
    for name, body in re.findall(r"```\w+\n# ([\w/.-]+\.(?:toml|py))\b[^\n]*\n(.*?)```", text, re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The environment with the README's package installed."""
    folder = tmp_path_factory.mktemp("stranger")
    write_package(README.read_text(), folder / "package")
    environment = Environment.new(folder / "venv")
    environment.pip("install", folder / "package")
    return environment


@pytest.fixture(scope="module")
def flowkit(stranger):
    """The command, as often as it is needed."""
    with stranger.commands() as flowkit:
        yield flowkit


@pytest.fixture(scope="module")
def run(flowkit, tmp_path_factory):
    """A folder with a run of both components, `runs/moons`."""
    folder = tmp_path_factory.mktemp("run")
    settings = ["path=spiral", "path.turns=0.5", "network.name=tiny", *QUICK]
    flowkit("train", "moons", *settings, cwd=folder)
    return folder


def test_it_is_listed_with_its_origin(flowkit, tmp_path):
    assert "winds in" in flowkit("list", "path", cwd=tmp_path)
    shown = flowkit("show", "path", "spiral", cwd=tmp_path)
    assert "flowkit-spiral 0.1.0" in shown
    assert "turns" in shown
    assert "0.25" in shown
    assert "flowkit-spiral" in flowkit("plugins", cwd=tmp_path)


def test_it_trains_from_the_command_line(flowkit, run):
    assert (run / "runs/moons/samples.png").exists()
    flowkit("sample", "runs/moons", "-n", 10, "--out", "x.csv", cwd=run)
    assert len((run / "x.csv").read_text().splitlines()) == 11


def test_it_trains_from_yaml(flowkit, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "data: moons\npath: {name: spiral, turns: 0.5}\nnetwork: {name: tiny, width: 32}\n"
        "training: {steps: 20, batch_size: 32}\n"
    )
    flowkit("train", "mine.yaml", "--no-report", cwd=tmp_path)
    assert "turns: 0.5" in (tmp_path / "runs/mine/config.yaml").read_text()


@pytest.mark.slow
def test_it_trains_from_python(stranger, tmp_path):
    code = """
        import flowkit as fk

        builder = fk.Pipeline.builder().data("moons").path("spiral", turns=0.5).network("tiny")
        pipeline = builder.training(steps=20, batch_size=32).build().fit("run")
        again = fk.Pipeline.load("run")
        assert (again.sample(64, seed=1) == pipeline.sample(64, seed=1)).all()
    """
    stranger.run("-c", textwrap.dedent(code), cwd=tmp_path)


def test_its_settings_are_checked_like_ours(flowkit, tmp_path):
    output = flowkit("train", "moons", "path=spiral", "path.turns=-1", "path.trun=1", cwd=tmp_path, code=2)
    assert "path.turns" in output
    assert "greater than or equal to 0" in output
    assert "path.trun: no such setting" in output
    output = flowkit("train", "moons", "path=spirall", cwd=tmp_path, code=2)
    assert "did you mean 'spiral'" in output
    output = flowkit("train", "moons", "path=spiral", "head=score", "loss=csm", cwd=tmp_path, code=2)
    assert "path 'spiral'" in output
    assert "score" in output


def test_its_components_do_what_they_promise(flowkit, tmp_path):
    assert "network tiny for (2,)" in flowkit("check", "flowkit-spiral", cwd=tmp_path)


def test_a_run_names_the_package_that_is_no_longer_there(stranger, run, tmp_path):
    environment = stranger.copy(tmp_path / "venv")
    environment.pip("uninstall", "flowkit-spiral")
    output = environment.run("-m", "flowkit", "sample", "runs/moons", cwd=run, code=2)
    assert "'spiral' comes from flowkit-spiral 0.1.0, which is not installed" in output
    assert "pip install 'flowkit-spiral==0.1.0'" in output


@pytest.mark.slow
def test_a_broken_package_is_reported_and_harms_nobody(stranger, tmp_path):
    write_package(README.read_text().replace("flowkit-spiral", "flowkit-broken"), tmp_path / "package")
    source = tmp_path / "package"
    (source / "flowkit_spiral").rename(source / "flowkit_broken")
    project = source / "pyproject.toml"
    project.write_text(project.read_text().replace("flowkit_spiral", "flowkit_broken"))
    (source / "flowkit_broken/plugin.py").write_text("import a_library_that_is_not_there\n")
    environment = stranger.copy(tmp_path / "venv")
    environment.pip("install", source)
    with environment.commands() as flowkit:
        listed = flowkit("plugins", cwd=tmp_path)
        flowkit("train", "moons", "--no-report", *QUICK, cwd=tmp_path)
        unknown = flowkit("train", "moons", "path=broken_path", cwd=tmp_path, code=2)
    for output in (listed, unknown):
        assert "flowkit-broken" in output
        assert "a_library_that_is_not_there" in output
