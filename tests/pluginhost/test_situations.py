"""Plugins that fail, are slow, are there twice or made for another flowkit: who is named, and the way out."""

import textwrap
import time
import types

import pytest

from flowkit.errors import PluginError
from flowkit.plugins import Component, PluginManager, hookimpl
from flowkit.plugins import notes as plugin_notes
from flowkit.plugins.api import check_api
from flowkit.plugins.notes import notes


def install(folder, distribution, module, body, points=None, version="1.0"):
    """What an installer leaves in a site directory: a module, and the metadata of a distribution."""
    (folder / f"{module}.py").write_text(textwrap.dedent(body))
    metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines = [f"{name} = {target}" for name, target in (points or {"main": module}).items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[flowkit]", *lines, ""]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def records(manager, distribution):
    return [record for record in manager.records if record.distribution == distribution]


GOOD = """
from flowkit.plugins import Component, hookimpl

@hookimpl
def flowkit_components():
    yield Component("path", "{name}", "somewhere:Path")
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import a_library_that_is_not_there", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("from flowkit.plugins import Plugin2", "upgrade flowkit-torch or flowkit-broken"),
        ("from flowkit.plugins.of_tomorrow import x", "upgrade flowkit-torch or flowkit-broken"),
    ],
)
def test_a_broken_plugin_is_named_with_the_reason_and_a_switch(site, body, reason):
    install(site, "flowkit-broken", f"broken_plugin_{len(body)}", body)
    manager = PluginManager.discover({})
    (note,) = notes(manager)
    assert note.startswith("plugin flowkit-broken:main 1.0 did not load: ")
    assert reason in note
    assert "FLOWKIT_DISABLE_PLUGINS=flowkit-broken:main" in note
    assert manager.registry.find("path", "gaussian")
    assert not notes(PluginManager.discover({"FLOWKIT_DISABLE_PLUGINS": "flowkit-broken:main"}))
    with pytest.raises(PluginError, match=r"plugin flowkit-broken:main 1\.0 failed"):
        PluginManager.discover({"FLOWKIT_STRICT_PLUGINS": "1"})


def test_a_slow_plugin_is_named_with_its_seconds(monkeypatch):
    monkeypatch.setattr(plugin_notes, "SLOW", 0.02)

    @hookimpl
    def flowkit_components():
        time.sleep(0.05)
        return ()

    manager = PluginManager({})
    manager.add(types.SimpleNamespace(flowkit_components=flowkit_components), "slow:main", "slow", "2.0")
    manager.add(types.SimpleNamespace(), "fast:main", "fast", "1.0")
    (note,) = notes(manager)
    assert note.startswith("plugin slow:main 2.0 took 0.1 s to load")
    assert "should import flowkit.plugins alone" in note
    assert 0.05 <= manager.records[0].seconds < 10


@pytest.mark.parametrize(
    ("declared", "offered", "oldest", "message"),
    [
        (2, 1, 1, r"version 2 of the plugin API; this flowkit offers version 1; upgrade flowkit: pip install -U"),
        (4, 3, 2, r"version 4 of the plugin API; this flowkit offers versions 2 to 3; upgrade flowkit"),
        (1, 3, 2, r"version 1 .* versions 2 to 3; upgrade the plugin: pip install -U flowkit-old"),
    ],
)
def test_a_plugin_for_another_version_of_the_api_is_refused_with_both_versions(declared, offered, oldest, message):
    with pytest.raises(PluginError, match=message):
        check_api(declared, "flowkit-old", offered, oldest)


@pytest.mark.parametrize(("declared", "offered", "oldest"), [(1, 1, 1), (2, 3, 2), (3, 3, 2)])
def test_a_plugin_for_an_offered_version_is_taken(declared, offered, oldest):
    check_api(declared, "flowkit-fine", offered, oldest)


def test_an_incompatible_plugin_gives_nothing_and_is_reported(site):
    install(site, "flowkit-newer", "newer_plugin", "flowkit_api = 7\n" + GOOD.format(name="new"), version="3.1")
    manager = PluginManager.discover({})
    (record,) = records(manager, "flowkit-newer")
    assert (record.status, record.components) == ("failed", ())
    (note,) = notes(manager)
    assert "flowkit-newer:main 3.1" in note
    assert "made for version 7 of the plugin API" in note
    assert "pip install -U flowkit-torch" in note


@pytest.mark.parametrize("declared", ["1", 1.0, True, 0])
def test_a_version_of_the_api_is_a_whole_number(declared):
    record = PluginManager({}).add(types.SimpleNamespace(flowkit_api=declared), "odd:main", "odd")
    assert "flowkit_api should be a whole number from 1 on" in record.error


def test_the_version_of_the_api_is_recorded():
    manager = PluginManager({})
    assert manager.add(types.SimpleNamespace(flowkit_api=1), "one:main").api == 1
    assert manager.add(types.SimpleNamespace(), "two:main").api == 1


def test_two_entry_points_to_one_module_are_named(site):
    install(site, "flowkit-twice", "twice_plugin", GOOD.format(name="x"), {"a": "twice_plugin", "b": "twice_plugin"})
    first, second = records(PluginManager.discover({}), "flowkit-twice")
    assert (first.status, second.status) == ("ok", "failed")
    assert "loaded already, as flowkit-twice:a" in second.error


def test_a_package_that_two_distributions_ship_is_taken_once_and_both_are_named(site):
    install(site, "flowkit-fork", "shared_plugin", GOOD.format(name="x"))
    install(site, "flowkit-original", "shared_plugin", GOOD.format(name="x"))
    manager = PluginManager.discover({})
    (note,) = notes(manager)
    assert "flowkit-original:main" in note
    assert "flowkit-fork:main" in note
    assert manager.registry.find("path", "x").distribution == "flowkit-fork"


def test_a_distribution_found_in_two_places_is_one(site, tmp_path_factory, monkeypatch):
    install(site, "flowkit-copy", "copied_plugin", GOOD.format(name="x"))
    other = tmp_path_factory.mktemp("other")
    monkeypatch.syspath_prepend(other)
    install(other, "flowkit-copy", "copied_plugin", GOOD.format(name="x"), version="2.0")
    (record,) = records(PluginManager.discover({}), "flowkit-copy")
    assert (record.status, record.version) == ("ok", "2.0")  # the one that Python imports, too


def test_a_declaration_given_twice_by_one_plugin_is_named():
    @hookimpl
    def flowkit_components():
        return [Component("path", "x", "a:B"), Component("path", "x", "a:C")]

    record = PluginManager({}).add(types.SimpleNamespace(flowkit_components=flowkit_components), "one:main", "one")
    assert "component 'path x' is declared twice" in record.error


def test_strict_mode_refuses_a_component_without_a_kind(site):
    install(site, "flowkit-stray", "stray_plugin", GOOD.format(name="x").replace('"path"', '"pathe"'))
    assert len(notes(PluginManager.discover({}))) == 1
    with pytest.raises(PluginError, match=r"flowkit-stray:main 1\.0: component 'x' is of an unknown kind 'pathe'"):
        PluginManager.discover({"FLOWKIT_STRICT_PLUGINS": "1"})
