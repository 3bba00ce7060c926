"""What a plugin's author is given by a build, and may refuse in one; what a run says of a plugin that is not there."""

import math
import types
from typing import ClassVar

import pytest
import torch

import flowkit as fk
from flowkit.pipeline.provenance import check_provenance
from flowkit.plugins import Component, PluginManager, hookimpl
from flowkit.testing import check_path


class PlanePath(fk.Path):
    """x_t = t z + (1 - t) x0, in the plane alone. A velocity gives the data, with no slope that it would tell."""

    def problems(self, event_shape):
        return [] if event_shape == (2,) else ["the plane has points of shape (2,)"]

    def sample(self, x0, z, t, generator=None):
        assert x0.shape[1:] == (2,)
        return t[:, None] * z + (1 - t[:, None]) * x0

    def velocity(self, x, x0, z, t):
        return z - x0

    def can_convert(self, given, wanted):
        return given is wanted or (given, wanted) == (fk.Quantity.VELOCITY, fk.Quantity.DATA)

    def convert(self, value, x, t, given, wanted, data_mean=0.0):
        if given is wanted or not self.can_convert(given, wanted):
            return super().convert(value, x, t, given, wanted)
        return x + fk.expand_time(1 - fk.batch_times(t, x), x) * value

    def slope(self, t, given, wanted):
        raise fk.UnsupportedError("no slope")


class Seen(fk.Callback):
    """Keeps what it was given."""

    shapes: ClassVar[list] = []

    def __init__(self, *, event_shape: fk.EventShape, num_classes: fk.NumClasses = None) -> None:
        self.shapes.append((event_shape, num_classes))


def manager(*components):
    plugins = PluginManager.discover()
    plugin = types.SimpleNamespace(flowkit_components=hookimpl(lambda: components))
    plugins.add(plugin, "stranger:main", "stranger", "1.0")
    return plugins


class Failing(PlanePath):
    """A path whose constructor fails."""

    error: ClassVar[BaseException] = KeyError("p")

    def __init__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("p"), "KeyError: 'p'"),
        (RuntimeError("one line\n  and another"), "RuntimeError: one line and another"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_constructor_that_fails_is_named_with_its_package_in_one_line(error, words, monkeypatch):
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(fk.ConfigError) as caught:
        fk.create("path", "failing", plugins=manager(Component("path", "failing", Failing)))
    assert str(caught.value) == f"path failing: path 'failing' of stranger 1.0 cannot be made: {words}"
    assert caught.value.__cause__ is error


def test_a_constructor_that_fails_hides_no_other_problem():
    plugins = manager(Component("path", "failing", Failing))
    given = {
        "data": "moons",
        "path": "failing",
        "source": {"name": "data", "data": {"name": "array", "path": "none.npy"}},
    }
    with pytest.raises(fk.ConfigError, match=r"(?s)none.npy.*path: path 'failing' of stranger 1.0 cannot be made"):
        fk.Pipeline.builder(plugins).from_config(given).build()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), fk.DataError("the data's own words")])
def test_a_constructor_may_be_interrupted_and_may_speak_for_itself(error, monkeypatch):
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(type(error)) as caught:
        fk.create("path", "failing", plugins=manager(Component("path", "failing", Failing)))
    assert caught.value is error


def test_a_path_says_at_build_time_for_which_data_it_is():
    fk.Pipeline.builder().data("moons").path(PlanePath()).build()
    with pytest.raises(fk.ConfigError, match=r"path: the plane has points of shape \(2,\)"):
        fk.Pipeline.builder().data("digits").path(PlanePath()).build()


def test_the_checks_leave_out_the_shapes_and_slopes_that_a_path_refuses():
    check_path(PlanePath())


def test_a_callback_is_given_what_only_the_data_know(tmp_path):
    builder = fk.Pipeline.builder(manager(Component("callback", "seen", Seen))).data("moons", labels=True)
    builder = builder.network("mlp", width=8).training(steps=1, batch_size=4)
    builder.callbacks("seen").build().fit(tmp_path / "run")
    assert Seen.shapes == [((2,), 2)]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("absent", r"which is not installed: pip install 'stranger==0\.9'"),
        ("changed", r"and stranger 1\.0, which is installed, does not provide it: pip install 'stranger==0\.9'"),
        ("broken", r"whose plugin stranger:main 1\.0 did not load: made for version 9 of the plugin API"),
    ],
)
def test_a_run_says_why_the_plugin_of_a_component_does_not_give_it(status, reason):
    plugins = PluginManager.discover() if status == "absent" else manager()
    if status == "broken":
        plugins = PluginManager.discover()
        plugins.add(types.SimpleNamespace(flowkit_api=9), "stranger:main", "stranger", "1.0")
    run = {"path": {"name": "gone"}, "provenance": {"components": {"path/gone": "stranger 0.9"}}}
    with pytest.raises(fk.ConfigError, match=rf"'gone' comes from stranger 0\.9, {reason}"):
        check_provenance(run, plugins)


class Scaled(fk.TimeGrid):
    """Equal steps; keeps the shape that it is for."""

    def __init__(self, *, event_shape: fk.EventShape) -> None:
        self.event_shape = event_shape

    def times(self, steps, path=None):
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


class Sized(fk.Metric):
    """The size of an event."""

    def __init__(self, *, event_shape: fk.EventShape) -> None:
        self.event_shape = event_shape

    def measure(self, generated, real):
        return float(math.prod(self.event_shape))


def test_every_component_may_ask_for_the_shape_of_the_data():
    plugins = manager(Component("grid", "scaled", Scaled), Component("metric", "sized", Sized))
    builder = fk.Pipeline.builder(plugins).data("digits").sampling(grid="scaled", steps=1)
    pipeline = builder.evaluation(metrics=["sized"]).build()
    assert pipeline.sampler.times.event_shape == (1, 8, 8)
    assert pipeline.metrics[0].event_shape == (1, 8, 8)
    assert pipeline.sample(2, steps=2).shape == (2, 1, 8, 8)


def test_a_run_is_sampled_without_the_package_of_a_callback(tiny, tmp_path):
    Seen.shapes.clear()
    plugins = manager(Component("callback", "seen", Seen))
    fk.Pipeline.builder(plugins).from_config(tiny.build().config).callbacks("seen").build().fit(tmp_path / "run")
    assert Seen.shapes == [((2,), None)]
    with pytest.warns(fk.FlowkitWarning, match="callback 'seen' is left out: it comes from stranger 1.0, which is not"):
        assert fk.Pipeline.load(tmp_path / "run").sample(3).shape == (3, 2)
