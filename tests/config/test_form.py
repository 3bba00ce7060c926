"""Settings derived from constructors."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import torch
from pydantic import BaseModel, Field
from torch import nn

import flowkit as fk
from flowkit.config.form import REQUIRED, form_of
from flowkit.errors import PluginError
from flowkit.plugins import KINDS


def form(cls):
    return form_of(cls, KINDS)


def test_plain_parameters_become_settings_with_their_ranges_and_defaults():
    class Part:
        def __init__(self, width: Annotated[int, Field(gt=0)] = 8, ratio: float = 0.5) -> None: ...

    fields = form(Part).model.model_fields
    assert fields["width"].default == 8
    assert fields["ratio"].annotation is float
    with pytest.raises(ValueError, match="greater than 0"):
        form(Part).model(width=0)


def test_interfaces_become_slots():
    class Part:
        def __init__(
            self,
            schedule: fk.Schedule,
            weighting: fk.Weighting | None = None,
            metrics: list[fk.Metric] = (),  # type: ignore[assignment]
        ) -> None: ...

    slots = form(Part).slots
    assert (slots["schedule"].kind, slots["schedule"].default) == ("schedule", REQUIRED)
    assert slots["weighting"].optional
    assert slots["metrics"].many
    assert slots["metrics"].kind == "metric"


def test_a_tuple_of_an_interface_takes_several_and_an_optional_list_may_be_none():
    class Part:
        def __init__(self, several: tuple[fk.Metric, ...], maybe: list[fk.Metric] | None = None) -> None: ...

    slots = form(Part).slots
    assert slots["several"].many
    assert slots["maybe"].many
    assert slots["maybe"].optional


def test_a_dataclass_makes_its_defaults():
    @dataclass
    class Part:
        levels: list[int] = field(default_factory=lambda: [1, 2])

    assert form(Part).model().levels == [1, 2]


def test_what_cannot_be_a_setting_is_named():
    class Odd:
        def __init__(self, weight: torch.Tensor) -> None: ...

    class Private:
        def __init__(self, _k: int = 1) -> None: ...

    with pytest.raises(PluginError, match=r"Odd: its settings cannot be checked: .*Tensor"):
        form(Odd)
    with pytest.raises(PluginError, match="rename '_k'"):
        form(Private)


def test_injected_parameters_are_no_settings():
    class Net(nn.Module):
        def __init__(self, width: int, *, event_shape: fk.EventShape, num_classes: fk.NumClasses = None) -> None: ...

    found = form(Net)
    assert found.names == ["width"]
    assert found.injected == {"event_shape": "event_shape", "num_classes": "num_classes"}


def test_annotations_may_be_strings():
    class Part:
        def __init__(self, width: "int" = 3, schedule: "fk.Schedule | None" = None) -> None: ...

    assert form(Part).names == ["schedule", "width"]


@pytest.mark.parametrize("cls", [type("Bare", (), {}), type("Net", (nn.Module,), {})])
def test_no_constructor_means_no_settings(cls):
    assert form(cls).names == []


def test_a_network_without_a_constructor_is_known_after_a_compilation_too():
    """torch.compile puts a constructor of its own into `nn.Module`."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))
    assert form(type("Net", (nn.Module,), {})).names == []


def test_unnamed_parameters_and_the_name_name_are_refused():
    class Stars:
        def __init__(self, **kwargs: int) -> None: ...

    class Named:
        def __init__(self, name: str) -> None: ...

    with pytest.raises(PluginError, match=r"Stars: parameter \*\*kwargs"):
        form(Stars)
    with pytest.raises(PluginError, match="'name' is taken"):
        form(Named)


def test_a_config_class_is_the_escape_hatch():
    class Part:
        class Config(BaseModel):
            depth: int = 2

        def __init__(self, **kwargs: int) -> None: ...

    assert form(Part).names == ["depth"]
