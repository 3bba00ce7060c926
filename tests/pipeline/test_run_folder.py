"""A run folder that several processes want, a training that is refused, and a log that a disk has damaged."""

import json

import pytest

import flowkit as fk
from flowkit.locks import exclusive
from flowkit.pipeline.run import RunFolder


def pipeline(steps=10, **training):
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=8, depth=1).evaluation(metrics=[])
    return builder.training(steps=steps, batch_size=8, checkpoint_every=5, log_every=5, **training).build()


@pytest.fixture
def folder(tmp_path):
    """A run of ten steps."""
    pipeline().fit(tmp_path / "run")
    return tmp_path / "run"


def files(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_one_process_at_a_time_trains_in_a_folder(folder, how):
    if not how:
        folder = folder.with_name("new")
    with exclusive(RunFolder(folder).lock_file, "busy"):
        before = files(folder)
        with pytest.raises(fk.ConfigError, match=r"is training in .*: wait for it"):
            pipeline().fit(folder, **how)
        assert files(folder) == before
    pipeline().fit(folder, **how)
    assert not RunFolder(folder).lock_file.exists()


def test_a_resumption_that_is_refused_changes_nothing(folder):
    before = files(folder)
    with pytest.raises(fk.ConfigError, match=r"training\.steps: is 7, and 10 steps are done already"):
        pipeline(steps=7).fit(folder, resume=True)
    assert files(folder) == before
    pipeline(steps=12).fit(folder, resume=True)
    assert RunFolder(folder).read_config()["training"]["steps"] == 12


@pytest.mark.parametrize("line", [b'{"step": "x", "loss": 1}', b"\xff\xfe\x00", b"[1]", b'{"step": 3', b'{"loss": 1}'])
def test_damaged_lines_of_the_log_are_passed_over(folder, line):
    log = folder / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + line + b"\n")
    (state,) = fk.list_runs(folder.parent)
    assert (state.state, state.step) == ("complete", 10)
    pipeline(steps=15).fit(folder, resume=True)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [5, 10, 15]


def test_a_time_of_the_log_that_is_none_hides_no_run(folder):
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 10, "loss": 1, "time": "x"}\n')
    (state,) = fk.list_runs(folder.parent)
    assert state.state == "complete"


def test_a_log_that_cannot_be_written_to_is_told_once_and_training_goes_on(tmp_path):
    class InItsWay(fk.Callback):
        def training_started(self, state):
            (state.folder / "metrics.jsonl").unlink()
            (state.folder / "metrics.jsonl").mkdir()

    with pytest.warns(fk.FlowkitWarning) as told:
        pipeline().fit(tmp_path / "run", callbacks=[InItsWay()])
    assert len(told) == 1
    assert "metrics.jsonl: could not be written (Is a directory); training goes on" in str(told[0].message)
    assert (tmp_path / "run/checkpoints/step-00000010").is_dir()
