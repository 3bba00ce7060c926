"""Every component of every standard plugin does what its kind promises, and has good manners."""

import csv

import pytest
from PIL import Image

import flowkit as fk
from flowkit.plugins import installed_plugins
from flowkit.plugins.registry import resolve_target
from flowkit.testing import check_data, check_field
from flowkit.testing.plugin import plugin_cases

REGISTRY = installed_plugins().registry
STANDARD = "flowkit-torch"
RECORDS = [record for record in installed_plugins().records if record.distribution == STANDARD]
COMPONENTS = [(record.name, component) for record in RECORDS for component in record.components]
NEEDS_FILES = {("data", "array"), ("data", "images"), ("field", "run")}
"""What no example can be given for; each is checked below with files of its own."""


def run(cases):
    return [outcome for case in cases for outcome in case.run()]


@pytest.mark.parametrize("name", [record.name for record in RECORDS])
def test_a_standard_plugin_declares_itself_rightly(name):
    for outcome in run(case for case in plugin_cases(name) if case.subject.kind == "plugin"):
        assert outcome.status in ("passed", "not applicable"), str(outcome)


@pytest.mark.parametrize(
    ("plugin", "component"), COMPONENTS, ids=[f"{component.kind}-{component.name}" for _, component in COMPONENTS]
)
def test_a_standard_component_passes_every_check(plugin, component):
    outcomes = run(plugin_cases(plugin, kind=component.kind, component=component.name))
    failed = [str(outcome) for outcome in outcomes if outcome.status == "failed"]
    assert not failed, "\n".join(failed)
    assert not [str(outcome) for outcome in outcomes if outcome.status == "passed" and outcome.message]
    gaps = [outcome.message for outcome in outcomes if outcome.status == "not checked"]
    assert bool(gaps) == ((component.kind, component.name) in NEEDS_FILES), gaps
    own = {check.name for check in resolve_target(REGISTRY.kinds[component.kind].checks)}
    assert gaps or any(outcome.check.name in own and outcome.status == "passed" for outcome in outcomes)


def test_a_table_passes_every_check(tmp_path):
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "c"], *([0.1 * i, i % 7, "xyz"[i % 3]] for i in range(40))])
    check_data(fk.create("data", "array", path=tmp_path / "table.csv", labels="c"))


def test_a_folder_of_images_passes_every_check(tmp_path):
    for i in range(12):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i, 255 - 20 * i, 7 * i)).save(folder / f"{i}.png")
    check_data(fk.create("data", "images", path=tmp_path / "images"))


def test_the_model_of_a_run_passes_every_check(tmp_path):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=8, depth=1).training(steps=1, batch_size=8)
    builder.build().fit(tmp_path / "run")
    expected = {"score_is_a_gradient": "a network's velocity is no gradient, so neither is the score that it becomes"}
    check_field(fk.create("field", "run", folder=str(tmp_path / "run")), expected_failures=expected)
