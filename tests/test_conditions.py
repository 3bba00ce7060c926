"""Conditions: -1 or NaN for none, tensors and mappings alike."""

import math

import pytest
import torch

from flowkit import (
    FlowkitError,
    concat_conditions,
    drop_condition,
    no_condition,
    select_condition,
)
from flowkit.conditions import to_device

DROP = torch.tensor([True, False, True])


def labels():
    return torch.tensor([4, 0, 7])


def angles():
    return torch.tensor([[0.25, 0.5], [0.75, 1.0], [1.25, 1.5]])


def both():
    return {"label": labels(), "angle": angles()}


def same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8], ids=str)
def test_a_dropped_label_is_minus_one(dtype):
    y = labels().to(dtype)
    same(drop_condition(y, DROP), torch.tensor([-1, 0, -1], dtype=dtype))
    same(no_condition(y), torch.tensor([-1, -1, -1], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_dropped_number_is_nan_in_all_of_its_elements(dtype):
    y = angles().to(dtype)
    same(drop_condition(y, DROP), torch.tensor([[math.nan] * 2, [0.75, 1.0], [math.nan] * 2], dtype=dtype))
    assert no_condition(y).isnan().all()
    assert no_condition(y).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool], ids=str)
def test_a_condition_that_cannot_hold_minus_one_is_refused(dtype):
    """-1 would be 255, or true: a condition like any other."""
    y = torch.tensor([1, 0, 1], dtype=dtype)
    for function in (no_condition, lambda y: drop_condition(y, DROP)):
        with pytest.raises((FlowkitError, TypeError, ValueError)):
            function(y)


def test_every_part_of_a_mapping_is_dropped():
    dropped = drop_condition(both(), DROP)
    same(dropped["label"], torch.tensor([-1, 0, -1]))
    assert dropped["angle"].isnan().all(1).tolist() == [True, False, True]
    same(no_condition(both()), {"label": torch.full((3,), -1), "angle": torch.full((3, 2), math.nan)})


def test_dropping_leaves_the_original_alone():
    y = both()
    drop_condition(y, DROP)
    no_condition(y)
    same(y, both())


def test_dropping_none_or_all():
    same(drop_condition(labels(), torch.zeros(3, dtype=torch.bool)), labels())
    same(drop_condition(both(), torch.ones(3, dtype=torch.bool)), no_condition(both()))


def test_two_batches_are_put_one_after_the_other():
    same(concat_conditions(labels(), no_condition(labels())), torch.tensor([4, 0, 7, -1, -1, -1]))
    other_order = {"angle": angles() + 1, "label": labels() + 1}
    together = concat_conditions(both(), other_order)
    same(together["label"], torch.tensor([4, 0, 7, 5, 1, 8]))
    same(together["angle"], torch.cat([angles(), angles() + 1]))


@pytest.mark.parametrize("index", [torch.tensor([2, 0]), slice(1, 3), DROP], ids=["numbers", "slice", "mask"])
def test_some_samples_are_selected(index):
    same(select_condition(labels(), index), labels()[index])
    same(select_condition(both(), index), {"label": labels()[index], "angle": angles()[index]})


def test_no_condition_at_all_stays_none():
    assert drop_condition(None, DROP) is None
    assert no_condition(None) is None
    assert concat_conditions(None, None) is None
    assert select_condition(None, slice(2)) is None
    assert to_device(None, "cpu") is None


def test_conditions_move_to_a_device():
    """The meta device computes nothing and is there on every machine."""
    assert to_device(labels(), "meta").device.type == "meta"
    assert {value.device.type for value in to_device(both(), "meta").values()} == {"meta"}
