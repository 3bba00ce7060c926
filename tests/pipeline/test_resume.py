"""Which settings of training may change when a run goes on."""

import pytest
import yaml

import flowkit as fk
from flowkit.config.sections import TrainingSettings
from flowkit.pipeline.resume import changes, check_same

MAY_CHANGE = {"steps", "accumulate", "shard", "log_every", "checkpoint_every", "keep_checkpoints"}
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


def test_what_differs_is_told_also_where_it_may():
    stored = {"training": TrainingSettings().model_dump(mode="json"), "sampling": {"steps": 5}, "data": {"name": "a"}}
    given = {**stored, "training": stored["training"] | {"log_every": 7}, "sampling": {"steps": 6}}
    log_every = stored["training"]["log_every"]
    assert changes(stored, given) == [("training.log_every", log_every, 7), ("sampling.steps", 5, 6)]
    check_same(stored, given)
