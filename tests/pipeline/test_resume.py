"""Which settings of training may change when a run goes on."""

import numpy as np
import pytest
import yaml

import flowkit as fk
from flowkit.config.sections import TrainingSettings
from flowkit.pipeline.resume import changes, check_same

MAY_CHANGE = {"steps", "start_from", "accumulate", "shard", "log_every", "checkpoint_every", "keep_checkpoints"}
"""What leaves the steps that are still to be taken as they would have been, to rounding."""


@pytest.mark.parametrize("name", list(TrainingSettings.model_fields))
def test_what_would_train_another_model_is_refused_and_named(name):
    stored = {"training": TrainingSettings().model_dump(mode="json")}
    other = {"training": stored["training"] | {name: "something else"}}
    check_same(stored, stored)
    if name in MAY_CHANGE:
        check_same(stored, other)
        return
    with pytest.raises(fk.ConfigError, match=rf"training\.{name}: the run was started with .* 'something else'"):
        check_same(stored, other)


def test_a_run_from_before_a_setting_of_a_component_goes_on(tiny, tmp_path):
    folder = tmp_path / "run"
    tiny.build().fit(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for section, setting in (("network", "frequencies"), ("training", "shard"), ("sampling", "compile")):
        del config[section][setting]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(fk.ConfigError, match=r"network\.frequencies: the run was started with .* cannot go on with 7"):
        tiny.network("mlp", width=16, depth=2, frequencies=7).build().fit(folder, resume=True)
    tiny.network("mlp", width=16, depth=2).training(steps=25).build().fit(folder, resume=True)


def test_data_may_be_moved_and_are_looked_at_where_they_are(tiny, tmp_path):
    z = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    for place, values in (("here", z), ("there", z), ("other", z[::-1])):
        (tmp_path / place).mkdir()
        np.save(tmp_path / place / "z.npy", values)
    tiny.data("array", path=tmp_path / "here/z.npy").build().fit(tmp_path / "run")
    tiny.data("array", path=tmp_path / "other/z.npy").training(steps=25)
    with pytest.raises(
        fk.ConfigError, match="data: the run was started with other data: some of the points are others"
    ):
        tiny.build().fit(tmp_path / "run", resume=True)
    tiny.data("array", path=tmp_path / "there/z.npy").build().fit(tmp_path / "run", resume=True)


def test_samples_do_not_take_the_place_of_the_data(tiny, tmp_path, monkeypatch):
    np.save(tmp_path / "z.npy", np.zeros((64, 2), "float32") + np.arange(64)[:, None])
    monkeypatch.setenv("HOME", str(tmp_path))
    pipeline = tiny.data("array", path="~/z.npy").build()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        fk.ConfigError, match=r"z\.npy: holds the data of this model \(data\.path\): choose another file"
    ):
        pipeline.sample_to("z.npy", 4)


def test_what_differs_is_told_also_where_it_may():
    stored = {"training": TrainingSettings().model_dump(mode="json"), "sampling": {"steps": 5}, "data": {"name": "a"}}
    given = {**stored, "training": stored["training"] | {"log_every": 7}, "sampling": {"steps": 6}}
    log_every = stored["training"]["log_every"]
    assert changes(stored, given) == [("training.log_every", log_every, 7), ("sampling.steps", 5, 6)]
    check_same(stored, given)
