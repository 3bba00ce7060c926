"""README.md and docs/*.md are true: their code runs, their commands exist, their configurations are valid.

A page is run from top to bottom in an empty folder, in one Python namespace:

- `python` is executed; a `text` block right after it holds what it prints, numbers to within a fifth, and `...`
  anything.
- `bash` lines that call `flowkit` are run in this process, training and profiling with few steps; pip and the like
  are not.
- `yaml` is read by flowkit; data are filled in where a block leaves them out.
- A block whose first line is a comment with a file name is written to that file instead. A `pyproject.toml` among them
  makes the folder look installed, so that flowkit discovers the example package by its entry point.
"""

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from flowkit.cli.main import app
from flowkit.config.config import read_config
from flowkit.config.files import parse_yaml
from flowkit.errors import ConfigError
from flowkit.interfaces.network import Network
from flowkit.plugins import KINDS, installed_plugins
from flowkit.plugins.registry import resolve_target

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (?P<name>[\w/.-]+\.(?:py|toml|yaml))\b")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]\d+)?")
LONG = ("flow-matching", "likelihood", "report", "score-matching", "speed", "writing-a-plugin")
"""Pages that train for seconds, with what other tests cover piece by piece; the README and the quickstart are none."""
UNTRIED = ("pip", "pytest", "python", "cd", "mkdocs", "accelerate", "ACCELERATE_USE_CPU=true")
"""Programs of bash blocks that are not run; what they pass to flowkit is still checked."""
QUICK = {
    "train": [
        "training.steps=4",
        "training.batch_size=32",
        "training.log_every=2",
        "sampling.steps=3",
        "evaluation.samples=32",
        "evaluation.repeats=1",
        "--no-report",
    ],
    "profile": ["--steps=1", "sampling.batch_size=256", "sampling.steps=3"],
}
"""What makes a command quick; the last of two values counts."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of the page where its text starts, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self):
        """The file that the block is, if its first line names one."""
        found = FILE.match(self.text)
        return found and found["name"]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start("text")) + 1, match["language"], match["text"])
        for match in BLOCK.finditer(text)
    ]


def commands(block):
    """The commands of a bash block, as lists of words, each with its line."""
    for i, line in enumerate(block.text.splitlines()):
        for command in re.split(r"\s&&\s", line):
            if words := shlex.split(command, comments=True):
                yield block.line + i, words


class PageRun:
    """Runs the blocks of one page, one after another, in the current folder."""

    def __init__(self):
        self.namespace = {"__name__": "__main__"}
        self.printed = None

    def run(self, block):
        printed, self.printed = self.printed, None
        if block.language in ("toml", "yaml"):
            self.read(block)
        if block.file:
            self.write(block)
        elif block.language == "python":
            self.execute(block)
        elif block.language == "bash":
            self.call(block)
        elif block.language == "text" and printed is not None:
            compare(block, printed)

    def execute(self, block):
        # The blank lines make Python's line numbers those of the page, so a traceback points into it.
        code = compile("\n" * (block.line - 1) + block.text, block.page, "exec")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, self.namespace)
        self.printed = out.getvalue()

    def read(self, block):
        if block.language == "toml":
            tomllib.loads(block.text)
            return
        try:
            read_config({"data": "moons", **parse_yaml(block.text, block.place)}, installed_plugins())
        except ConfigError as error:
            pytest.fail(f"{block.place}: {error}", pytrace=False)

    def write(self, block):
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if path.name == "pyproject.toml":
            look_installed(tomllib.loads(block.text))
            installed_plugins.cache_clear()
        importlib.invalidate_caches()

    def call(self, block):
        for line, words in commands(block):
            where = f"{block.page.relative_to(ROOT)}:{line}: {shlex.join(words)}"
            if words[0] != "flowkit":
                assert words[0] in UNTRIED, f"{where}: neither run nor known"
                continue
            quick = QUICK.get(words[1], [])
            out = io.StringIO()
            try:
                with contextlib.redirect_stdout(out):
                    app([*words[1:], *quick], standalone_mode=False)
            except BaseException as error:
                pytest.fail(f"{where}\n{type(error).__name__}: {error}\n{out.getvalue()}")


def look_installed(project):
    """Put beside the example package what pip would: its metadata with its entry points."""
    name, version = project["project"]["name"], project["project"]["version"]
    info = Path(f"{name.replace('-', '_')}-{version}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, points in project["project"]["entry-points"].items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def compare(block, printed):
    """Hold a text block against what was printed: words exactly, numbers to within a fifth; `...` is anything."""
    words = re.split(rf"({NUMBER.pattern}|\.\.\.|\s+)", block.text.strip())
    found = re.fullmatch("".join(map(as_pattern, words)), printed.strip())
    shown = [float(word) for word in words if NUMBER.fullmatch(word)]
    if not found or any(abs(float(b) - a) > 0.02 + 0.2 * abs(a) for a, b in zip(shown, found.groups(), strict=True)):
        pytest.fail(f"{block.place}: the page shows\n{block.text}\nand the code prints\n{printed}", pytrace=False)


def as_pattern(word):
    if word == "...":
        return ".*?"
    if word.isspace():
        return r"\s+"
    return f"({NUMBER.pattern})" if NUMBER.fullmatch(word) else re.escape(word)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder from which packages can be imported; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "200")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    installed_plugins.cache_clear()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in LONG else []) for page in PAGES],
)
def test_a_page_runs_from_top_to_bottom(page, folder):
    run = PageRun()
    for block in blocks(page):
        run.run(block)


@pytest.mark.slow
def test_the_example_package_of_the_plugin_page_passes_its_own_tests(folder):
    run = PageRun()
    files = [block for block in blocks(ROOT / "docs/writing-a-plugin.md") if block.file]
    for block in files:
        run.write(block)
    assert any(Path(block.file).name.startswith("test_") for block in files)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mentioned():
    """Every `flowkit ...` of a page, in bash blocks and in the text."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "bash":
                for line, words in commands(block):
                    if "flowkit" in words:
                        place = f"{page.relative_to(ROOT)}:{line}"
                        yield pytest.param(words[words.index("flowkit") + 1 :], id=f"{place}: {shlex.join(words)}")
        for i, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for words in re.findall(r"(?<!`)`flowkit ([^`]+)`(?!`)", line):
                yield pytest.param(shlex.split(words), id=f"{page.relative_to(ROOT)}:{i}: flowkit {words}")


def declared():
    """The commands of the example packages."""
    return dict.fromkeys(name for page in PAGES for name in re.findall(r'Command\("([\w-]+)"', page.read_text()))


@pytest.mark.parametrize("words", list(mentioned()))
def test_a_command_that_a_page_mentions_exists_with_its_options(words):
    command = typer.main.get_command(app)
    options = {name for parameter in command.params for name in parameter.opts}
    known = {*command.commands, "--help", *options, *declared()}
    assert words[0] in known, f"there is no command {words[0]!r}"
    if words[0] in command.commands:
        options = {name for parameter in command.commands[words[0]].params for name in parameter.opts}
        unknown = {word for word in words[1:] if word.startswith("-")} - options - {"--help", "--debug"}
        assert not unknown


def test_links_and_pictures_lead_somewhere():
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            if "://" not in target:
                assert (page.parent / target).is_file(), f"{page.name}: {target}"


def test_pictures_are_small():
    for picture in (ROOT / "docs/images").glob("*.png"):
        assert picture.stat().st_size < 150_000, picture


def test_the_plugin_page_names_every_kind_with_what_a_subclass_gives():
    page = (ROOT / "docs/writing-a-plugin.md").read_text(encoding="utf-8")
    for kind in KINDS.values():
        interface = resolve_target(kind.interface)
        row = next((line for line in page.splitlines() if line.startswith(f"| `{kind.name}` |")), None)
        assert row, f"no row for {kind.name}"
        assert f"`{interface.__name__}`" in row, row
        methods = {"forward"} if interface is Network else getattr(interface, "__abstractmethods__", ())
        for method in methods:
            assert f"`{method}" in row, f"{kind.name}: {method} is missing"


def test_the_architecture_page_names_every_module_and_no_other():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\s*((?:flowkit|plugins)/[\w/]+(?:\.py|/))", page, re.MULTILINE))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "flowkit").rglob("*.py")}
    modules = {name for name in modules if name == "flowkit/__init__.py" or not name.endswith("/__init__.py")}
    packages = {f"plugins/{path.parent.name}/" for path in (ROOT / "plugins").glob("*/plugin.py")}
    missing = sorted((modules | packages) - named)
    assert not missing, f"docs/architecture.md needs a line for each of {missing}"
    gone = sorted(name for name in named if not (ROOT / name).exists())
    assert not gone, f"docs/architecture.md names {gone}, which are not there"
