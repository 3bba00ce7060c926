"""Components and objects of a stranger's beside ours: whose settings are whose, whose default is taken."""

import types

import pytest
import torch

import flowkit as fk
from flowkit.config.config import read_config
from flowkit.errors import ConfigError
from flowkit.pipeline.provenance import check_provenance
from flowkit.plugins import Component, PluginManager, hookimpl, installed_plugins


def problems(given, plugins):
    with pytest.raises(ConfigError) as caught:
        read_config(given, plugins)
    return {problem.where: problem.message for problem in caught.value.problems}


class Schedule9(fk.Schedule):
    """A schedule of a stranger's: the default of a slot of theirs."""

    def __init__(self, power: float = 9.0) -> None:
        self.power = power

    def alpha(self, t):
        return t**self.power

    def beta(self, t):
        return 1 - t

    def alpha_dot(self, t):
        return self.power * t ** (self.power - 1)

    def beta_dot(self, t):
        return -torch.ones_like(t)


class Path9(fk.Path):
    """A path with that slot."""

    def __init__(self, schedule: fk.Schedule = Schedule9()) -> None:  # noqa: B008
        self.schedule = schedule

    def sample(self, x0, z, t, generator=None):
        return z

    def velocity(self, x, x0, z, t):
        return z


def with_a_stranger(*components):
    @hookimpl
    def flowkit_components():
        return components

    manager = PluginManager.discover()
    manager.add(types.SimpleNamespace(flowkit_components=flowkit_components), "stranger:main", "stranger", "1.0")
    return manager


def test_settings_without_a_name_go_to_the_default_of_the_slot():
    plugins = with_a_stranger(Component("path", "nine", Path9), Component("schedule", "nine", Schedule9))
    config = read_config({"data": "moons", "path": {"name": "nine", "schedule": {"power": 3.0}}}, plugins)
    assert config.dump()["path"] == {"name": "nine", "schedule": {"name": "nine", "power": 3.0}}
    config = read_config({"data": "moons", "sampling": {"diffusion": {"scale": 2.0}}}, plugins)
    assert config.dump()["sampling"]["diffusion"]["scale"] == 2.0


def test_two_defaults_for_a_kind_matter_only_where_nothing_is_chosen():
    plugins = with_a_stranger(Component("integrator", "other", "other:Other", default_for=("any",)))
    given = {"data": "moons", "sampling": {"integrator": "euler"}}
    assert read_config(given, plugins).dump()["sampling"]["integrator"] == {"name": "euler"}
    found = problems({"data": "moons", "training": {"steps": -1}}, plugins)
    assert "several defaults for integrator" in found["sampling.integrator"]
    assert "training.steps" in found


def test_an_object_in_a_slot_leaves_the_rest_of_the_component_readable():
    path = fk.create("path", "gaussian", schedule=Schedule9())
    dumped = read_config({"data": "moons", "path": path}, installed_plugins()).dump()["path"]
    assert dumped == {"name": "gaussian", "schedule": {"instance": f"{__name__}:Schedule9"}}


def test_a_run_asks_for_the_packages_of_the_parts_that_are_not_replaced():
    run = {
        "data": {"name": "moons"},
        "path": {"name": "gone", "schedule": {"name": "lost"}},
        "provenance": {"components": {"data/moons": "ours 1", "path/gone": "theirs 2", "schedule/lost": "theirs 2"}},
    }
    with pytest.raises(ConfigError, match=r"'gone' comes from theirs 2, which is not installed.*\n.*'lost' comes"):
        check_provenance(run, installed_plugins())
    check_provenance(run, installed_plugins(), {"path": Path9()})
