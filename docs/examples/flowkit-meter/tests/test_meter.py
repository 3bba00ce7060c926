import json
import time

import pytest
from flowkit_meter.meter import Meter
from flowkit_meter.section import cost_section

import flowkit as fk
from flowkit.testing import parametrize_with_checks


@parametrize_with_checks([Meter()])
def test_it_is_a_callback(component, check):
    check(component)


def train(folder, steps, **settings):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16).callbacks("meter")
    builder = builder.sampling(steps=2).evaluation(samples=16, repeats=1)
    return builder.training(steps=steps, batch_size=8, checkpoint_every=5).build().fit(folder, **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 5 steps that went on to 10, and how long that took."""
    folder = tmp_path_factory.mktemp("metered") / "run"
    start = time.perf_counter()
    train(folder, 5)
    train(folder, 10, resume=True)
    return folder, time.perf_counter() - start


def test_a_resumed_run_has_a_line_for_each_sitting(run):
    folder, seconds = run
    lines = [json.loads(line) for line in (folder / "meter.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in lines] == [5, 5]
    assert 0 < sum(line["seconds"] for line in lines) < seconds
    assert all(line["memory"] > 2**20 for line in lines)


def test_the_report_sums_up_what_the_sittings_cost(tmp_path):
    line = {"steps": 40, "seconds": 3.0, "cpu_seconds": 5.0, "memory": 300 * 2**20, "gpu_memory": 0}
    more = line | {"memory": 500 * 2**20, "gpu_memory": 2**20}
    (tmp_path / "meter.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(more)}\n")
    text = cost_section(tmp_path).text
    assert "80 steps took 6 s, and 10 s of CPU time; the process held up to 500 MiB, a GPU 1 MiB." in text
    assert "taken up again 1 times" in text


def test_a_run_without_a_meter_has_no_such_section(tmp_path):
    assert cost_section(tmp_path) is None


def test_the_hook_puts_it_into_the_report(run):
    folder, _ = run
    report = fk.Pipeline.load(folder).report(folder)
    assert "What it cost" in report.path.read_text(encoding="utf-8")
