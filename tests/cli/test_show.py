"""`flowkit show` and `flowkit schema`: what a component is, what a kind asks, what editors are given."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from flowkit.cli.main import app
from flowkit.cli.show import section_rows, type_text
from flowkit.config.docstring import arguments_of, first_paragraph, sections_of
from flowkit.config.sections import FORMS
from flowkit.plugins import KINDS, installed_plugins


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")


def flowkit(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_a_component_is_shown_with_settings_meanings_paper_and_package():
    lines = flowkit("show", "schedule", "vp").stdout.splitlines()
    assert "the variance-preserving SDE" in lines[0]
    assert lines[1] == "flowkit_gaussian.schedules.preserving:VariancePreserving, from flowkit-torch 0.1.0"
    (row,) = [line.split() for line in lines if line.startswith("rate_min")]
    assert row == ["rate_min", "float", "(>", "0)", "0.1", "r_0,", "the", "rate", "at", "the", "data."]
    assert "Arguments:" not in lines
    assert "https://arxiv.org/abs/2011.13456" in "".join(lines[lines.index("References:") :])


def test_slots_are_shown_with_their_kind_and_default():
    text = flowkit("show", "loss", "cfm").stdout
    (row,) = [line.split() for line in text.splitlines() if line.startswith("weighting ")]
    assert row[:3] == ["weighting", "weighting", "unit"]
    assert "squared | huber | pseudo_huber" in text
    assert "Filled in by a pipeline: event_shape" in flowkit("show", "network", "unet").stdout


def test_values_are_shown_as_a_configuration_writes_them():
    text = " ".join(flowkit("show", "data", "array").stdout.split())
    assert "key str | null null " in text
    assert "none" not in text
    assert "multipliers tuple[int (> 0), ...] [1, 2]" in " ".join(flowkit("show", "network", "unet").stdout.split())


@pytest.mark.parametrize("entry", list(installed_plugins().registry), ids=lambda entry: entry.target)
def test_every_component_can_be_shown(entry):
    text = flowkit("show", entry.component.kind, entry.component.name).stdout
    assert entry.target in text


@pytest.mark.parametrize("section", FORMS)
def test_every_setting_of_a_section_is_shown_with_its_meaning(section):
    lines = flowkit("show", section).stdout.splitlines()
    assert first_paragraph(FORMS[section].model) in lines[0]
    shown = {line.split()[0]: line for line in lines[3:]}
    assert list(shown) == FORMS[section].names
    for name, *_, meaning in section_rows(section, installed_plugins().registry):
        assert meaning
        assert meaning in shown[name]


def test_a_section_is_shown_with_the_defaults_that_plugins_declare():
    rows = {name: row for name, *row in section_rows("sampling", installed_plugins().registry)}
    assert rows["integrator"][:2] == ["integrator", "heun"]
    assert rows["guidance"][:2] == ["guidance | null", "null"]
    rows = {name: row for name, *row in section_rows("evaluation", installed_plugins().registry)}
    assert rows["metrics"][:2] == ["list of metric", "wasserstein"]
    result = CliRunner().invoke(app, ["show", "training", "steps"])
    assert "`flowkit show training` is all of it" in str(result.exception)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_shown_with_what_a_subclass_gives(kind):
    text = flowkit("show", kind).stdout
    registry = installed_plugins().registry
    assert KINDS[kind].summary in text
    assert KINDS[kind].interface in text
    for method in getattr(registry.interface(kind), "__abstractmethods__", ()):
        assert any(line.split()[:1] == ["gives"] and method in line for line in text.splitlines()), method
    for entry in registry.of_kind(kind):
        assert entry.component.name in text


def test_a_kind_without_components_is_listed():
    assert "kinds without a component: callback" in flowkit("list").stdout
    assert "no installed plugin provides a callback" in flowkit("list", "callback").stdout


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (Annotated[float, Field(gt=0, le=1)], "float (> 0, <= 1)"),
        (Annotated[float, Field(ge=0)] | None, "float (>= 0) | null"),
        (Literal["a", "b"], "a | b"),
        (Literal[False, "auto"], "false | auto"),
        (tuple[Annotated[int, Field(gt=0)], ...], "tuple[int (> 0), ...]"),
        (Annotated[list[float], Field(min_length=1)], "list[float] (length >= 1)"),
        (dict[str, Path], "dict[str, Path]"),
    ],
)
def test_a_type_is_written_with_its_range(hint, text):
    assert type_text(hint) == text


class Documented:
    """A sentence
    in two lines.

    More: of this and that.

    Arguments:
        first: One line.
        second (int): Two lines,
            and a colon: here.
        third:
            Below its name.

    References:
        Somebody 2020.
    """


class Derived(Documented):
    """Another sentence.

    Arguments:
        second: Anew.
    """


def test_a_docstring_is_read_section_by_section():
    assert first_paragraph(Documented) == "A sentence in two lines."
    assert sections_of(Documented)["References"].strip() == "Somebody 2020."
    meanings = {"first": "One line.", "second": "Two lines, and a colon: here.", "third": "Below its name."}
    assert arguments_of(Documented) == meanings
    assert arguments_of(Derived) == meanings | {"second": "Anew."}
    assert arguments_of(type("Bare", (), {})) == {}


def test_the_schema_goes_to_a_file_with_the_line_that_yaml_files_start_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = flowkit("schema", "--out", "flowkit.schema.json")
    assert result.stdout == "# yaml-language-server: $schema=flowkit.schema.json\n"
    assert "network.mlp" in json.loads((tmp_path / "flowkit.schema.json").read_text())["$defs"]
    line = flowkit("schema", "--out", str(tmp_path / "a.json")).stdout
    assert line.endswith(f"$schema={(tmp_path / 'a.json').as_uri()}\n")
    assert json.loads(flowkit("schema").stdout) == json.loads((tmp_path / "a.json").read_text())
