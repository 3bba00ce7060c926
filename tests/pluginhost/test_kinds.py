"""Kinds that plugins add: listed, described, used as slots like the core's; agreed on, or in dispute."""

import itertools
import sys
import types

import pytest

import flowkit as fk
from flowkit.config.config import read_config
from flowkit.config.form import form_of
from flowkit.config.schema import schema_and_failures
from flowkit.errors import ConfigError, PluginError, UnknownComponentError
from flowkit.pipeline.provenance import check_provenance
from flowkit.plugins import Component, Kind, PluginManager, hookimpl
from flowkit.plugins.notes import notes


class Clock:
    """An interface of a stranger's: what tells the time.

    A subclass gives `now`.
    """


class Sundial(Clock):
    """The time is where the shadow falls.

    Arguments:
        latitude: In degrees.
    """

    def __init__(self, latitude: float = 45.0) -> None:
        self.latitude = latitude


class Timed(fk.TimeSampler):
    """Times from a clock.

    Arguments:
        clock: Which clock.
    """

    def __init__(self, clock: Clock, spare: Clock | None = None) -> None:
        self.clock, self.spare = clock, spare

    def sample(self, n, generator=None, device="cpu", dtype=None, path=None):
        return None


CLOCK = Kind("clock", f"{__name__}:Clock", "what tells the time", checks="clocks.checks:CHECKS")
SUNDIAL = Component("clock", "sundial", Sundial, "no batteries")
TIMED = Component("time", "timed", Timed)


def plugin(*components, kinds=(), error=None, **attributes):
    @hookimpl
    def flowkit_kinds():
        return kinds

    @hookimpl
    def flowkit_components():
        if error:
            raise error
        return components

    return types.SimpleNamespace(flowkit_kinds=flowkit_kinds, flowkit_components=flowkit_components, **attributes)


def manager(**plugins):
    """A manager of these plugins beside the installed ones; each is its own distribution."""
    made = PluginManager.discover()
    for name, added in plugins.items():
        made.add(added, f"{name}:main", name, "1.0")
    return made


PARTS = {"kinds": plugin(kinds=[CLOCK]), "sundials": plugin(SUNDIAL), "timers": plugin(TIMED)}


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)))
def test_a_component_of_a_kind_of_another_plugin_fills_a_slot_of_a_third_in_any_order(order):
    plugins = manager(**{name: PARTS[name] for name in order})
    timed = fk.create("time", "timed", plugins=plugins, clock={"name": "sundial", "latitude": 10})
    assert isinstance(timed.clock, Sundial)
    assert (timed.clock.latitude, timed.spare) == (10.0, None)
    config = read_config(
        {"data": "moons", "loss": {"name": "cfm", "time": {"name": "timed", "clock": "sundial"}}}, plugins
    )
    assert config.dump()["loss"]["time"]["clock"] == {"name": "sundial", "latitude": 45.0}
    assert plugins.registry.origin("clock") == "kinds 1.0"
    assert plugins.registry.kind("clock").checks == "clocks.checks:CHECKS"
    assert not notes(plugins)


def test_an_interface_may_be_declared_by_the_package_that_exports_it(monkeypatch):
    package = types.ModuleType("a_package_of_clocks")
    package.Clock = Clock
    monkeypatch.setitem(sys.modules, "a_package_of_clocks", package)
    plugins = manager(kinds=plugin(kinds=[Kind("clock", "a_package_of_clocks:Clock", "")]), timers=plugin(TIMED))
    assert form_of(Timed, plugins.registry.kinds).slots["clock"].kind == "clock"


def test_a_component_that_does_not_implement_the_interface_is_refused():
    plugins = manager(kinds=plugin(kinds=[CLOCK]), others=plugin(Component("clock", "wrong", Timed)))
    with pytest.raises(PluginError, match=r"clock 'wrong' of others 1\.0: .*Timed is not a subclass of Clock"):
        plugins.registry.load(plugins.registry.find("clock", "wrong"))


def test_the_same_kind_from_two_plugins_is_one_kind():
    plugins = manager(one=plugin(kinds=[CLOCK]), two=plugin(SUNDIAL, kinds=[CLOCK]))
    assert plugins.registry.find("clock", "sundial").distribution == "two"
    assert not notes(plugins)


OTHER_INTERFACE = Kind("clock", "other:Clock", "")
OTHER_NAME = Kind("watch", CLOCK.interface, "")


@pytest.mark.parametrize("other", [OTHER_INTERFACE, OTHER_NAME])
def test_two_plugins_that_do_not_agree_on_a_kind_are_named_when_it_is_used(other):
    plugins = manager(one=plugin(SUNDIAL, kinds=[CLOCK]), two=plugin(kinds=[other]), timers=plugin(TIMED))
    words = r"of one 1\.0 .* of two 1\.0 .*FLOWKIT_DISABLE_PLUGINS to one or two"
    with pytest.raises(UnknownComponentError, match=words):
        plugins.registry.find("clock", "sundial")
    with pytest.raises(ConfigError, match=words):
        fk.create("time", "timed", plugins=plugins, clock="sundial")
    assert read_config({"data": "moons"}, plugins)
    (note,) = notes(plugins)
    assert "one 1.0" in note
    assert "two 1.0" in note


def test_a_run_with_a_component_of_a_kind_in_dispute_is_told_of_the_dispute_and_not_to_install_what_is_there():
    plugins = manager(one=plugin(SUNDIAL, kinds=[CLOCK]), two=plugin(kinds=[OTHER_INTERFACE]))
    run = {"loss": {"clock": {"name": "sundial"}}, "provenance": {"components": {"clock/sundial": "one 1.0"}}}
    with pytest.raises(ConfigError, match=r"clock: kind 'clock' of one .* exclude each other") as refusal:
        check_provenance(run, plugins)
    assert "pip install" not in str(refusal.value)


class Tower(fk.TimeSampler):
    """A sampler whose clock has a default.

    Arguments:
        clock: Which clock.
    """

    def __init__(self, clock: Clock = Sundial(10.0)) -> None:  # noqa: B008
        self.clock = clock

    def sample(self, n, generator=None, device="cpu", dtype=None, path=None):
        return None


def test_a_kind_in_dispute_leaves_a_slot_to_its_default_and_the_schema_to_the_rest():
    tower = Component("time", "tower", Tower)
    plugins = manager(one=plugin(SUNDIAL, kinds=[CLOCK]), two=plugin(kinds=[OTHER_INTERFACE]), towers=plugin(tower))
    assert fk.create("time", "tower", plugins=plugins).clock.latitude == 10.0
    schema, failures = schema_and_failures(plugins)
    assert schema["$defs"]["clock"] is False
    assert "time.tower" in schema["$defs"]
    assert len(failures) == 1
    assert "FLOWKIT_DISABLE_PLUGINS" in failures[0]


def test_recipe_is_no_name_of_a_kind():
    record = manager(bad=plugin(kinds=[Kind("recipe", "mine:Recipe", "")])).records[-1]
    assert "recipes are no components" in record.error


@pytest.mark.parametrize("kind", [Kind("path", "mine:Path", ""), Kind("road", "flowkit.interfaces.path:Path", "")])
def test_a_plugin_cannot_take_a_kind_of_the_core(kind):
    plugins = manager(bad=plugin(kinds=[kind]))
    assert plugins.records[-1].status == "failed"
    assert "flowkit's own kind 'path'" in plugins.records[-1].error
    assert fk.create("path", "gaussian", plugins=plugins)


def test_a_plugin_that_fails_takes_its_kinds_with_it_and_what_is_left_says_so():
    plugins = manager(kinds=plugin(kinds=[CLOCK], error=RuntimeError("boom")), sundials=plugin(SUNDIAL))
    assert "clock" not in plugins.registry.kinds
    with pytest.raises(UnknownComponentError, match=r"'sundial' of sundials is of this kind.*\n.*kinds:main.*boom"):
        plugins.registry.find("clock", "sundial")


def test_a_component_of_a_kind_whose_plugin_is_missing_harms_nobody():
    other = Component("path", "fine", "a.b:C")
    plugins = manager(sundials=plugin(SUNDIAL, other))
    assert plugins.registry.find("path", "fine")
    assert all(entry.component.kind != "clock" for entry in plugins.registry)
    (note,) = notes(plugins)
    assert note.startswith("plugin sundials:main 1.0: component 'sundial' is of an unknown kind 'clock'")


def test_a_misspelt_kind_gets_a_suggestion():
    (note,) = notes(manager(bad=plugin(Component("pth", "x", "a.b:C"))))
    assert "plugin bad:main 1.0: component 'x' is of an unknown kind 'pth' (did you mean 'path'?)" in note


def test_a_component_of_a_misspelt_kind_is_quoted_where_its_name_is_not_found():
    registry = manager(bend=plugin(Component("pth", "bend", Sundial), Component("clok", "other", Sundial))).registry
    with pytest.raises(UnknownComponentError, match="there is no path 'bend'") as caught:
        registry.find("path", "bend")
    _, *quoted = str(caught.value).splitlines()
    assert quoted == [
        "plugin bend:main 1.0: component 'bend' is of an unknown kind 'pth' (did you mean 'path'?): "
        "no plugin that is loaded declares it"
    ]
    with pytest.raises(UnknownComponentError) as caught:
        registry.find("path", "bent")
    assert "pth" not in str(caught.value)


def test_a_slot_of_a_kind_whose_plugin_is_missing_says_what_is_missing():
    with pytest.raises(ConfigError, match=r"Timed: its settings cannot be .* kind that a loaded plugin declares"):
        fk.create("loss", "cfm", plugins=manager(timers=plugin(TIMED)), time="timed")


@pytest.mark.parametrize(
    ("interface", "reason"), [("not_there_at_all:Clock", "cannot be imported"), (f"{__name__}:CLOCK", "is not a class")]
)
def test_an_interface_that_cannot_be_used_names_its_plugin(interface, reason):
    plugins = manager(kinds=plugin(SUNDIAL, kinds=[Kind("clock", interface, "")]))
    with pytest.raises(PluginError, match=rf"kind 'clock' of kinds 1\.0: its interface {interface} {reason}"):
        plugins.registry.load(plugins.registry.find("clock", "sundial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Clock", "a.b:C", ""), "lower case"),
        (("clock", "a.b.C", ""), "interface 'a.b.C' is not of the form"),
        (("clock", "a.b:C", "", "checks"), "checks 'checks' is not of the form"),
    ],
)
def test_a_malformed_kind_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Kind(*arguments)
