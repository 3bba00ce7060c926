"""Three doors to the same checks: `flowkit check`, `pytest --flowkit`, and `parametrize_with_checks`."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowkit.cli.main import app
from flowkit.plugins import installed_plugins

pytest_plugins = ["pytester"]

PLUGIN = """
{first}
from flowkit.plugins import Component, hookimpl

@hookimpl
def flowkit_components():
    yield Component("source", "wide", "{package}.parts:Wide", "N(0, 4 I)")
    yield Component("source", "of_file", "{package}.parts:OfFile", "from a file")
"""
PARTS = '''
import torch
from flowkit import Source

class Wide(Source):
    """N(0, 4 I)."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return 2 * torch.randn((n, *event_shape), generator=generator, device=device, dtype=dtype)

    def log_prob(self, x):
        return -x.flatten(1).square().sum(1) / {variance}

class OfFile(Wide):
    """N(0, 4 I), with a file."""

    def __init__(self, file: str) -> None:
        self.file = file
'''


@pytest.fixture
def installed(pytester, monkeypatch):
    """Writes a package whose log_prob lacks its constant, and makes it look installed."""
    written = []

    def install(package, first="", variance=8):
        monkeypatch.syspath_prepend(pytester.path)
        folder = pytester.mkpydir(package)
        (folder / "plugin.py").write_text(PLUGIN.format(first=first, package=package))
        (folder / "parts.py").write_text(PARTS.format(variance=variance))
        name = package.replace("_", "-")
        info = pytester.mkdir(f"{package}-0.1.dist-info")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[flowkit]\nmain = {package}.plugin\n")
        importlib.invalidate_caches()
        installed_plugins.cache_clear()
        written.append(package)
        return name

    yield install
    installed_plugins.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in written]:
        del sys.modules[name]


def check(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["check", *arguments])


def pytest_in(pytester, *arguments):
    # hypothesis, where it is installed, is imported anew by every inner run, and takes seconds
    return pytester.runpytest_inprocess("-p", "no:hypothesispytest", *arguments)


def test_the_command_tells_failures_with_reason_and_hint_and_counts_the_rest(installed):
    done = check(installed("flowkit_wide"))
    assert done.exit_code == 1
    words = " ".join(done.output.split())
    assert "failed source wide: density_integrates_to_one" in words
    assert "log_prob is off by" in words
    assert "hint: a constant is missing or wrong in log_prob" in words
    assert "not checked source of_file: needs `file`: give the component `examples`" in words
    assert "1 failed, 3 not applicable, 1 not checked" in words
    assert "survives_pickling" not in words


def test_the_command_lists_every_check_if_asked_and_succeeds_where_nothing_fails(installed):
    done = check(installed("flowkit_fine"), "--all", "--component", "of_file")
    assert done.exit_code == 0, done.output
    assert "can_be_loaded" in done.output
    assert "not checked" in done.output


def test_the_command_knows_no_other_plugin():
    done = check("flowkit-torhc")
    assert "did you mean 'flowkit-torch'?" in str(done.exception)
    assert done.exception.exit_code == 2


def test_a_plugin_that_imports_torch_when_it_is_listed_is_seen(installed):
    name = installed("flowkit_heavy", first="import torch")
    done = check(name)
    assert "failed plugin flowkit-heavy:main: is_listed_without_torch" in " ".join(done.output.split())
    assert "imports numpy, torch" in done.output


def test_pytest_has_an_item_for_each_check_and_fails_without_a_traceback(installed, pytester):
    name = installed("flowkit_items")
    pytester.makepyfile("def test_of_its_own(): pass")
    result = pytest_in(pytester, "--flowkit", name, "-v", "-rs")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes["passed"] > 15
    text = result.stdout.str()
    assert "test_pytest_has_an_item" in text
    assert "flowkit-items::source wide::density_integrates_to_one FAILED" in text
    assert "a constant is missing or wrong in log_prob" in text
    assert "Traceback" not in text
    assert "in run_check" not in text
    assert "not checked: needs `file`" in text


def test_pytest_chooses_among_the_items_and_refuses_an_unknown_plugin(installed, pytester):
    name = installed("flowkit_chosen")
    outcomes = pytest_in(pytester, "--flowkit", name, "-k", "pickling").parseoutcomes()
    assert (outcomes.pop("passed"), *outcomes) == (1, "deselected")
    result = pytest_in(pytester, "--flowkit", "flowkit-chosn")
    result.stdout.fnmatch_lines(["*there is no plugin 'flowkit-chosn' (did you mean 'flowkit-chosen'?)*"])
    assert result.ret != 0


OWN_TESTS = """
from flowkit.testing import parametrize_with_checks
from flowkit_own.parts import OfFile, Wide

@parametrize_with_checks([Wide(), OfFile("a")], expected_failures={failures})
def test_mine(component, check):
    check(component)

def test_no_plugin_but_mine(flowkit_plugins):
    assert not flowkit_plugins.records
"""


def test_a_test_of_ones_own_has_a_case_for_each_check_and_strict_expected_failures(installed, pytester):
    installed("flowkit_own")
    failures = {"density_integrates_to_one": "the constant does not matter here"}
    pytester.makepyfile(OWN_TESTS.format(failures=failures))
    result = pytest_in(pytester, "-v", "-rx")
    outcomes = result.parseoutcomes()
    assert (outcomes["xfailed"], outcomes.get("failed", 0)) == (2, 0), result.stdout.str()
    text = result.stdout.str()
    assert "::test_mine[Wide-log_prob_is_one_number_a_draw] PASSED" in text
    assert "the constant does not matter here" in text


def test_an_expected_failure_that_passes_fails_and_one_of_no_check_is_an_error(installed, pytester):
    installed("flowkit_own")
    pytester.makepyfile(OWN_TESTS.format(failures={"draws_are_independent": "no", "density_integrates_to_one": "no"}))
    result = pytest_in(pytester, "-k", "Wide-d")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])
    pytester.makepyfile(test_two=OWN_TESTS.format(failures={"draws_are_independant": "no"}))
    result = pytest_in(pytester, "test_two.py")
    result.stdout.fnmatch_lines(["*has no check 'draws_are_independant' (did you mean 'draws_are_independent'?)*"])


def test_the_tests_on_the_page_pass(pytester, monkeypatch):
    monkeypatch.syspath_prepend(pytester.path)
    page = (Path(__file__).parents[2] / "docs/checks.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        (pytester.path / name).write_text(text, encoding="utf-8")
    result = pytest_in(pytester, "test_wide.py", "test_declaration.py")
    assert (result.ret, result.parseoutcomes()["xfailed"]) == (0, 8)


def test_show_prints_the_examples_of_a_component():
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["show", "field", "finite_data"]).output
    assert "For example {path: gaussian, data: moons, draws: 50}" in shown


def test_the_pytest_plugin_costs_an_unrelated_run_nothing():
    code = "import sys, flowkit.testing.pytest_plugin as p; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
