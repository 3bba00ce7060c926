"""Which settings of training may change when a run goes on."""

import pytest

import flowkit as fk
from flowkit.config.sections import TrainingSettings
from flowkit.pipeline.resume import check_same

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
