"""The example plugins of docs/examples, each installed with pip on its own and used as its reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PACKAGES = sorted(folder.name for folder in (DOCS / "examples").iterdir())
QUICK = ["training.steps=20", "training.batch_size=32", "evaluation.samples=32", "evaluation.repeats=1"]
USES = {
    "flowkit-blur": ["train", "digits", "network=mlp", "path=blur", "path.blur=3", "--no-report"],
    "flowkit-meter": ["train", "moons", "callbacks=meter"],
    "flowkit-torchdiffeq": [
        *["train", "moons", "sampling.integrator=torchdiffeq", "sampling.integrator.method=heun3", "sampling.steps=3"],
    ],
}


def python(site, *arguments, cwd):
    """What Python prints with one folder of packages beside the environment's."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module", params=PACKAGES)
def package(request):
    return request.param


@pytest.fixture(scope="module")
def site(package, tmp_path_factory):
    """A folder with that package alone."""
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    install = [*(sys.executable, "-m", "pip", "-q", "install"), *offline, "--target", site, DOCS / "examples" / package]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return site


@pytest.mark.slow
def test_it_is_listed_as_a_plugin_of_its_own(site, package, tmp_path):
    listed = python(site, "-m", "flowkit", "plugins", cwd=tmp_path)
    assert re.search(rf"^{package}:\w+ +0\.1\.0 +ok ", listed, re.MULTILINE)


@pytest.mark.slow
def test_its_own_tests_and_the_checks_of_flowkit_pass(site, package, tmp_path):
    own = DOCS / "examples" / package / "tests"
    ran = python(
        site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", own, "--flowkit", package, own, cwd=tmp_path
    )
    assert re.search(r"\d+ passed", ran)


@pytest.mark.slow
def test_a_run_uses_it(site, package, tmp_path):
    python(site, "-m", "flowkit", *USES[package], *QUICK, "--out", "run", cwd=tmp_path)
    assert f"{package} 0.1.0" in (tmp_path / "run/config.yaml").read_text()
    if package == "flowkit-meter":
        assert "What it cost" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_the_page_shows_its_files_as_they_are(package):
    page = (DOCS / "examples.md").read_text(encoding="utf-8")
    module = package.replace("-", "_")
    shown = re.findall(rf"```\w+\n# ({module}/\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert shown, f"{package} is not on the page"
    for name, text in shown:
        assert text == (DOCS / "examples" / package / name).read_text(encoding="utf-8"), name
