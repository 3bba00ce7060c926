"""Which settings of training may change when a run goes on."""

import pytest

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


def test_what_differs_is_told_also_where_it_may():
    stored = {"training": TrainingSettings().model_dump(mode="json"), "sampling": {"steps": 5}, "data": {"name": "a"}}
    given = {**stored, "training": stored["training"] | {"log_every": 7}, "sampling": {"steps": 6}}
    log_every = stored["training"]["log_every"]
    assert changes(stored, given) == [("training.log_every", log_every, 7), ("sampling.steps", 5, 6)]
    check_same(stored, given)
