"""A run folder that several processes want, a training that is refused, and a log that a disk has damaged."""

import json
import shutil

import pytest
import torch
from command import flowkit

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


@pytest.mark.parametrize("text", ["", "data: {name: moons}\n", "data: {name: [", "- 1\n", "training: 3\n"])
def test_a_run_whose_configuration_is_damaged_is_listed_as_unreadable(folder, text):
    (folder / "config.yaml").write_text(text)
    (folder.parent / "other").mkdir()
    (folder.parent / "other/config.yaml").write_text("data: moons\n")  # one that was written to be trained
    (state,) = fk.list_runs(folder.parent)
    assert (state.path, state.state) == (folder, "unreadable")
    assert "config.yaml" in state.what


def test_a_run_on_an_object_is_listed_under_the_name_of_its_class(tmp_path):
    data = fk.InMemory(torch.randn(32, 2))
    fk.Pipeline.builder().data(data).training(steps=1, batch_size=8).build().fit(tmp_path / "run")
    (state,) = fk.list_runs(tmp_path)
    assert state.what == "InMemory, gaussian, mlp, cfm"


def test_runs_of_the_same_parts_are_told_apart_by_their_settings_and_metrics(tmp_path):
    for name, settings in {"a": {}, "b": {"learning_rate": 0.5}, "c": {"seed": 7}}.items():
        pipeline(**settings).fit(tmp_path / name)
    pipeline().fit(tmp_path / "other")
    (tmp_path / "a/evaluation.json").write_text('{"metrics": [{"metric": "2-Wasserstein", "value": 0.12345678}]}')
    (tmp_path / "b/evaluation.json").write_text('{"metrics": [{"metric": "2-Wasserstein", "value": null}]}')
    rate = pipeline().config["training"]["learning_rate"]
    a, b, c, other = fk.list_runs(tmp_path)
    assert list(a.settings.items()) == [("training.learning_rate", rate), ("training.seed", 0)]
    assert b.settings == {"training.learning_rate": 0.5, "training.seed": 0}
    assert c.settings == {"training.learning_rate": rate, "training.seed": 7}
    assert other.settings == a.settings
    assert [run.metric for run in (a, b, c)] == ["2-Wasserstein 0.1235", "", ""]
    assert "training.learning_rate=0.5, training.seed=0" in flowkit("runs", ".", cwd=tmp_path)


def test_the_run_of_a_sweep_that_failed_is_told_apart_too(tmp_path):
    for name, settings in {"a": {}, "b": {"learning_rate": 0.5}}.items():
        pipeline(**settings).fit(tmp_path / name)
    shutil.rmtree(tmp_path / "b/checkpoints")
    with (tmp_path / "b/metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "ended": true, "error": "the loss is nan"}\n')
    _, b = fk.list_runs(tmp_path)
    assert (b.state, b.what, b.settings) == ("failed", "the loss is nan", {"training.learning_rate": 0.5})


def test_runs_are_told_apart_where_the_first_chose_another_component(tmp_path):
    for name, sampling in {"a": ["heun"], "b": ["edm_churn", 1.0], "c": ["edm_churn", 2.0]}.items():
        integrator, *churn = sampling
        made = fk.Pipeline.builder().data("moons").network("mlp", width=8, depth=1).evaluation(metrics=[])
        made = made.sampling({"name": integrator} | ({"s_churn": churn[0]} if churn else {}))
        made.training(steps=1, batch_size=8).build().fit(tmp_path / name)
    a, b, c = (run.settings for run in fk.list_runs(tmp_path))
    assert a == {"sampling.integrator": "heun"}
    assert b == {"sampling.integrator": "edm_churn", "sampling.integrator.s_churn": 1.0}
    assert c == {"sampling.integrator": "edm_churn", "sampling.integrator.s_churn": 2.0}


def test_a_setting_that_is_younger_than_a_run_tells_no_runs_apart(tmp_path):
    for name in "abc":
        pipeline().fit(tmp_path / name)
    for name, setting in {"a": "  ema_decay: 0.999\n", "c": "  shard: false\n"}.items():
        file = tmp_path / name / "config.yaml"
        assert setting in file.read_text()
        file.write_text(file.read_text().replace(setting, ""))
    assert [run.settings for run in fk.list_runs(tmp_path)] == [{}, {}, {}]


def test_what_was_measured_before_a_run_went_on_is_not_listed_as_its_metric(folder):
    measured = '{"step": %d, "metrics": [{"metric": "2-Wasserstein", "value": 0.5}]}'
    for step, expected in {10: "2-Wasserstein 0.5", 5: ""}.items():
        (folder / "evaluation.json").write_text(measured % step)
        (run,) = fk.list_runs(folder.parent)
        assert run.metric == expected


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_in_the_place_of_the_checkpoints_is_told_before_anything_is_done(folder, resume):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_text("")
    before = files(folder)
    with pytest.raises(fk.RunExistsError, match=r"checkpoints is a file, in the place of the folder of checkpoints"):
        pipeline().fit(folder, resume=resume, overwrite=not resume)
    assert files(folder) == before


def test_a_full_disk_at_the_start_of_a_resumption_is_told_and_takes_nothing_away(folder, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    before = files(folder)
    monkeypatch.setattr("flowkit.files.sync", full)
    with pytest.raises(fk.FlowkitError, match=r"config\.yaml: could not be written \(No space left on device\)"):
        pipeline(steps=12).fit(folder, resume=True)
    assert files(folder) == before


@pytest.mark.parametrize(
    "line",
    [b'{"step": "x", "loss": 1}', b'{"step": true, "loss": 1}', b"\xff\xfe\x00", b"[1]", b'{"step": 3', b'{"loss": 1}'],
)
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
