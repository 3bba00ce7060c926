"""A whole plugin is checked: what it declares, and how its components are made."""

import types

import pytest
import torch
from checks import mutants_network, mutants_source

import flowkit as fk
from flowkit.errors import UnknownComponentError
from flowkit.plugins import KINDS, Command, Component, Kind, PluginManager, Recipe, Registry, hookimpl
from flowkit.testing import CheckList, check_component, check_plugin, require
from flowkit.testing.declaration import DECLARATION, PLUGIN
from flowkit.testing.plugin import plugin_cases

SOURCE = "checks.mutants_manners:Right"


class Demanding(mutants_source.Right):
    """Needs a file."""

    def __init__(self, file: str, scale: float = 1.0) -> None:
        if scale < 0:
            raise ValueError("scale must not be negative")
        self.file, self.scale = file, scale


class Untyped(mutants_source.Right):
    """Takes anything."""

    def __init__(self, *scales: float) -> None:
        self.scales = scales


class ForImages(mutants_network.Right):
    """Takes images alone."""

    def __init__(self, *, event_shape: mutants_network.EventShape) -> None:
        if len(event_shape) != 3:
            raise ValueError(f"wants images, got {event_shape}")
        super().__init__(event_shape=event_shape)


class ForNothing(mutants_network.Right):
    """Takes no event at all."""

    def __init__(self, *, event_shape: mutants_network.EventShape) -> None:
        raise ValueError(f"no {len(event_shape)} axes, please")


def managed(*components, recipes=(), commands=(), error=None):
    """A manager of these components alone."""
    module = types.SimpleNamespace()

    @hookimpl
    def flowkit_components():
        yield from components
        if error:
            raise error

    @hookimpl
    def flowkit_recipes():
        return recipes

    @hookimpl
    def flowkit_commands():
        return commands

    module.flowkit_components, module.flowkit_recipes = flowkit_components, flowkit_recipes
    module.flowkit_commands = flowkit_commands
    plugins = PluginManager({})
    plugins.add(module, "mine")
    return plugins


def outcomes(plugins, check=None, **chosen):
    found = [outcome for case in plugin_cases("mine", plugins, **chosen) for outcome in case.run()]
    return [outcome for outcome in found if check in (None, outcome.check.name)]


def component(target=SOURCE, **fields):
    return Component(**({"kind": "source", "name": "wide", "target": target, "summary": "N(0, 4 I)"} | fields))


FAULTS = {
    "loads": (managed(error=RuntimeError("no luck")), "RuntimeError: no luck"),
    "can_be_loaded": (managed(component("checks.mutants_network:Right")), "is not a subclass of Source"),
    "has_readable_settings": (managed(component(Untyped)), "cannot be a setting: name every parameter"),
    "has_a_summary": (managed(component(summary="")), "it has no summary"),
    "is_the_default_of_known_data": (managed(component(default_for=("imag",))), "did you mean 'image'?"),
    "can_be_made": (managed(component(Demanding, examples=({"file": "a", "scale": -1.0},))), "must not be negative"),
    "names_what_can_be_imported": (
        managed(commands=[Command("tell", "nowhere:tell", "Tells.")]),
        "command 'tell': nowhere",
    ),
    "recipes_are_valid": (managed(recipes=[Recipe("gone", "checks:gone.yaml")]), "recipe 'gone'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_plugin_declares_wrongly_is_seen(name):
    plugins, words = FAULTS[name]
    failed = [outcome for outcome in outcomes(plugins, name) if outcome.status == "failed"]
    assert words in "".join(outcome.message for outcome in failed)
    with pytest.raises(AssertionError, match=name):
        check_plugin("mine", plugins=plugins)


def test_every_check_of_declarations_has_a_fault():
    # The one that is missing needs an installed distribution: see test_doors.py.
    names = {check.name for check in (*PLUGIN, *DECLARATION)}
    assert names - {"is_listed_without_torch"} <= FAULTS.keys()


def test_a_right_plugin_passes():
    report = check_plugin("mine", plugins=managed(component(examples=({"scale": 3.0},))))
    assert not report.of("not checked")
    labels = dict.fromkeys(outcome.component for outcome in report)
    assert list(labels) == ["plugin mine", "source wide", "source wide scale=3.0"]


def test_a_component_without_the_settings_that_it_needs_is_a_gap_not_a_success():
    (outcome,) = outcomes(managed(component(Demanding)), "can_be_made")
    assert (outcome.status, outcome.message) == (
        "not checked",
        "needs `file`: give the component `examples`, or check an object in your own tests",
    )


def test_a_component_that_needs_settings_is_made_from_its_examples_alone():
    report = outcomes(managed(component(Demanding, examples=({"file": "a"}, {"file": "b"}))), "can_be_made")
    assert [(outcome.component, outcome.status) for outcome in report] == [
        ("source wide file=a", "passed"),
        ("source wide file=b", "passed"),
    ]


def test_a_missing_optional_dependency_is_a_gap():
    plugins = managed(component("a_library_that_is_not_there:Source", extra="more"))
    (outcome,) = outcomes(plugins, "can_be_loaded")
    assert outcome.status == "not checked"
    assert "pip install 'local[more]'" in outcome.message


def test_a_network_is_tried_on_events_until_it_takes_one_with_and_without_classes():
    plugins = managed(Component("network", "points", "flowkit_networks.mlp:MLP", "fully connected"))
    labels = dict.fromkeys(outcome.component for outcome in outcomes(plugins, "can_be_made"))
    assert list(labels) == ["network points for (2,)", "network points for (2,), 3 classes"]
    images = next(iter(plugin_cases("mine", managed(Component("network", "images", ForImages, "x")), kind="network")))
    assert images.subject.component.component.name == "images"
    made = list(plugin_cases("mine", managed(Component("network", "unet", "flowkit_networks.unet:UNet", "x"))))[2:]
    assert [case.subject.event_shape for case in made] == [(1, 8, 8), (1, 8, 8)]


def test_a_network_that_takes_no_event_says_why_for_each():
    (outcome,) = outcomes(managed(Component("network", "none", ForNothing, "x")), "can_be_made")
    assert outcome.status == "failed"
    assert "for events (2,): network none: no 1 axes" in outcome.message
    assert "for events (1, 8, 8): network none: no 3 axes" in outcome.message


class OfImages(fk.Metric):
    """The distance of the mean images."""

    label = "mean images"

    def measure(self, generated, real):
        means = [torch.nn.functional.avg_pool2d(batch.z, 8).mean(0) for batch in (generated, real)]
        return float((means[0] - means[1]).norm())


def test_a_component_that_takes_images_alone_is_checked_with_images():
    plugins = managed(Component("metric", "of_images", OfImages, "for images"))
    report = check_plugin("mine", plugins=plugins)
    assert "metric of_images for (1, 8, 8)" in {outcome.component for outcome in report.of("passed")}


class Reward:
    """What a plugin may add as a kind: a number for each sample."""


class Best(Reward):
    """|x|^2."""

    def __call__(self, x):
        return x.square().flatten(1).sum(1)


class Random(Reward):
    """Anything."""

    def __call__(self, x):
        return torch.rand(len(x))


REWARDS = CheckList(use=lambda subject: subject.component(subject.randn(4, 0)))


@REWARDS.add()
def is_not_negative(subject):
    """A reward is at least 0."""
    require(bool((subject.component(subject.randn(4, 0)) >= 0).all()), "negative")


def test_a_kind_of_a_plugin_has_checks_of_its_own_and_the_manners():
    kind = Kind("reward", f"{__name__}:Reward", "a number for each sample", f"{__name__}:REWARDS")
    plugins = types.SimpleNamespace(registry=Registry({**KINDS, "reward": kind}))
    names = [outcome.check.name for outcome in check_component(Best(), plugins=plugins).of("passed")]
    assert names[0] == "is_not_negative"
    assert "leaves_the_global_random_state_alone" in names
    with pytest.raises(AssertionError, match="leaves_the_global_random_state_alone"):
        check_component(Random(), plugins=plugins)


def test_kind_and_component_choose():
    plugins = managed(component(), component(name="other"))
    assert {outcome.component for outcome in outcomes(plugins, component="other")} == {"source other"}
    with pytest.raises(UnknownComponentError, match="declares no path"):
        outcomes(plugins, kind="path")
    with pytest.raises(UnknownComponentError, match="did you mean 'mine'"):
        check_plugin("mime", plugins=plugins)
