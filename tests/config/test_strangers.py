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
        "provenance": {
            "components": {"data/moons": "flowkit-torch 0.1", "path/gone": "theirs 2", "schedule/lost": "theirs 2"}
        },
    }
    with pytest.raises(ConfigError, match=r"'gone' comes from theirs 2, which is not installed.*\n.*'lost' comes"):
        check_provenance(run, installed_plugins())
    check_provenance(run, installed_plugins(), {"path": Path9()})


def test_a_name_that_several_claim_is_stored_with_its_distribution(tmp_path):
    plugins = with_a_stranger(Component("schedule", "cosine", Schedule9))
    builder = fk.Pipeline.builder(plugins).data("moons").training(steps=2, batch_size=8).sampling("euler", steps=2)
    pipeline = builder.path("gaussian", schedule={"name": "stranger/cosine", "power": 2.0}).build()
    assert pipeline.config["path"]["schedule"] == {"name": "stranger/cosine", "power": 2.0}
    x = pipeline.fit(tmp_path / "run").sample(10)
    again = fk.Pipeline.load(tmp_path / "run", plugins=plugins)
    assert torch.equal(again.sample(10), x)
    assert again.sample(10, steps=3).shape == (10, 2)
    with pytest.raises(ConfigError, match=r"'stranger/cosine' comes from stranger 1\.0, which is not installed"):
        fk.Pipeline.load(tmp_path / "run")


def test_a_run_keeps_its_component_when_another_of_the_name_is_installed(tmp_path):
    builder = fk.Pipeline.builder().data("moons").path("gaussian", schedule="cosine")
    pipeline = builder.training(steps=2, batch_size=8).sampling("euler", steps=2).build().fit(tmp_path / "run")
    plugins = with_a_stranger(Component("schedule", "cosine", Schedule9))
    again = fk.Pipeline.load(tmp_path / "run", plugins=plugins)
    assert again.config["path"]["schedule"]["name"] == "flowkit-torch/cosine"
    assert torch.equal(again.sample(10), pipeline.sample(10))


class Secretive(fk.Schedule):
    """Keeps its setting under another name."""

    def __init__(self, power: float = 1.0) -> None:
        self._hidden = power

    def alpha(self, t):
        return t**self._hidden

    def beta(self, t):
        return 1 - t


class Around(Path9):
    """A path whose default schedule cannot be written down."""

    def __init__(self, schedule: fk.Schedule = Secretive(2.0)) -> None:  # noqa: B008
        self.schedule = schedule


def test_a_default_that_cannot_be_written_down_is_left_to_the_constructor():
    plugins = with_a_stranger(Component("path", "around", Around), Component("schedule", "secretive", Secretive))
    config = read_config({"data": "moons", "path": "around"}, plugins).dump()
    assert config["path"] == {"name": "around"}
    assert read_config(config, plugins).dump() == config


def test_a_run_on_tensors_is_loaded_without_them_and_asks_for_them_where_they_are_needed(tmp_path):
    class Silent(fk.Callback):
        pass

    data = fk.InMemory(torch.randn(50, 2))
    builder = fk.Pipeline.builder().data(data).callbacks(Silent()).training(steps=2, batch_size=8)
    x = builder.sampling("euler", steps=2).build().fit(tmp_path / "run").sample(10)
    again = fk.Pipeline.load(tmp_path / "run")
    assert torch.equal(again.sample(10), x)
    assert again.config["data"] == {"instance": "flowkit.interfaces.data:InMemory"}
    with pytest.raises(ConfigError, match=r"data: was given as a Python object of .*:InMemory"):
        again.evaluate()
    assert fk.Pipeline.load(tmp_path / "run", data=data).evaluate()
