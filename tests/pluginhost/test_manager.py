"""The plugin host: isolation, provenance, clashes, switches."""

import re
import subprocess
import sys
import types
import warnings

import pytest

import flowkit as fk
from flowkit.errors import FlowkitWarning, PluginError, UnknownComponentError
from flowkit.pipeline.provenance import qualified
from flowkit.plugins import Component, PluginManager, Recipe, hookimpl, installed_plugins


def plugin(*components, recipes=(), error=None):
    module = types.SimpleNamespace()

    @hookimpl
    def flowkit_components():
        yield from components
        if error:
            raise error

    @hookimpl
    def flowkit_recipes():
        return recipes

    module.flowkit_components = flowkit_components
    module.flowkit_recipes = flowkit_recipes
    return module


SPIRAL = Component(kind="path", name="spiral", target="spiral.path:SpiralPath")


def test_every_standard_plugin_loads():
    failed = [(record.name, record.error) for record in installed_plugins().records if record.status != "ok"]
    assert not failed


def test_every_standard_component_can_be_imported_and_is_of_its_kind():
    registry = installed_plugins().registry
    for entry in registry:
        if entry.distribution == "flowkit-torch":
            assert registry.load(entry).__doc__, f"{entry.qualified} has no docstring"


def test_a_component_is_found_with_its_provenance():
    manager = PluginManager({})
    manager.add(plugin(SPIRAL), "flowkit-spiral:main", "flowkit-spiral", "0.3")
    entry = manager.registry.find("path", "spiral")
    assert (entry.distribution, entry.version, entry.plugin) == ("flowkit-spiral", "0.3", "flowkit-spiral:main")


def test_a_plugin_that_raises_takes_nobody_down_and_leaves_nothing_behind():
    manager = PluginManager({})
    manager.add(plugin(SPIRAL, error=RuntimeError("boom")), "bad:main", "bad", "1.0")
    manager.add(plugin(Component("path", "fine", "a.b:C")), "good:main", "good", "1.0")
    assert [entry.component.name for entry in manager.registry] == ["fine"]
    with pytest.raises(UnknownComponentError, match=r"bad:main did not load.*boom"):
        manager.registry.find("path", "spiral")


@pytest.mark.parametrize("error", [ImportError("no torch"), SystemExit(3)])
def test_whatever_a_plugin_raises_is_recorded(error):
    manager = PluginManager({})
    record = manager.add(plugin(error=error), "bad:main", "bad", "2.1")
    assert record.status == "failed"
    assert str(error) in record.error
    assert record.version == "2.1"


def test_strict_mode_raises_instead():
    manager = PluginManager({"FLOWKIT_STRICT_PLUGINS": "1"})
    with pytest.raises(PluginError, match=r"bad:main 1\.0 failed: RuntimeError: boom"):
        manager.add(plugin(error=RuntimeError("boom")), "bad:main", "bad", "1.0")


def test_two_claims_to_a_name_are_an_error_only_when_it_is_used_and_the_qualified_names_work():
    manager = PluginManager({})
    manager.add(plugin(SPIRAL), "one:main", "one")
    manager.add(plugin(SPIRAL), "two:main", "two")
    with pytest.raises(UnknownComponentError, match=r"provided by one and two: write 'one/spiral' or 'two/spiral'"):
        manager.registry.find("path", "spiral")
    assert manager.registry.find("path", "two/spiral").distribution == "two"


def test_a_name_that_got_contested_is_qualified_where_it_is_of_that_kind():
    manager = PluginManager({})
    manager.add(plugin(SPIRAL, Component("head", "spiral", "a.b:C")), "one:main", "one")
    manager.add(plugin(SPIRAL), "two:main", "two")
    stored = {
        "path": {"name": "spiral", "base": {"name": "spiral"}},
        "head": {"name": "spiral"},
        "callbacks": [{"name": "log"}],
        "provenance": {"components": {"path/spiral": "two 1", "head/spiral": "one 1", "callback/log": "one 1"}},
    }
    found = qualified(stored, manager)
    assert found["path"]["name"] == "two/spiral"
    assert found["head"] == {"name": "spiral"}
    del stored["provenance"]["components"]["head/spiral"], stored["head"]
    found = qualified(stored, manager)  # a name of one kind alone, wherever it stands
    assert found["path"] == {"name": "two/spiral", "base": {"name": "two/spiral"}}


def test_two_distributions_may_use_one_entry_point_name():
    manager = PluginManager({})
    manager.add(plugin(SPIRAL), "one:main", "one")
    manager.add(plugin(Component("path", "other", "a.b:C")), "two:main", "two")
    assert len(list(manager.registry)) == 2


@pytest.mark.parametrize(
    ("environment", "loaded"),
    [
        ({}, {"one", "two"}),
        ({"FLOWKIT_DISABLE_PLUGINS": "one"}, {"two"}),
        ({"FLOWKIT_DISABLE_PLUGINS": "one:main, two"}, set()),
        ({"FLOWKIT_PLUGINS": "one"}, {"one"}),
        ({"FLOWKIT_PLUGINS": ""}, set()),
    ],
)
def test_switches_leave_plugins_out(environment, loaded):
    manager = PluginManager(environment)
    manager.add(plugin(SPIRAL), "one:main", "one")
    manager.add(plugin(SPIRAL), "two:main", "two")
    assert {entry.distribution for entry in manager.registry} == loaded
    assert len(manager.records) == 2


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ("not a component", "not a Component"),
    ],
)
def test_a_wrong_declaration_is_named(component, message):
    record = PluginManager({}).add(plugin(component), "bad:main", "bad")
    assert record.status == "failed"
    assert re.search(message, record.error)


@pytest.mark.parametrize("name", ["Spiral", "two words", "1st", ""])
def test_names_are_lower_case_words(name):
    with pytest.raises(ValueError, match="lower case"):
        Component("path", name, "a.b:C")


def test_a_target_that_does_not_import_says_so_and_names_the_extra():
    manager = PluginManager({})
    component = Component("metric", "fid", "not_installed_module:FID", extra="images")
    manager.add(plugin(component), "one:main", "one", "1.0")
    with pytest.raises(PluginError, match=r"pip install 'one\[images\]'"):
        manager.registry.load(manager.registry.find("metric", "fid"))


def test_a_target_of_another_kind_is_refused():
    manager = PluginManager({})
    manager.add(plugin(Component("path", "heun", "flowkit_ode.heun:Heun")), "one:main", "one", "1.0")
    with pytest.raises(PluginError, match="not a subclass of Path"):
        manager.registry.load(manager.registry.find("path", "heun"))


def test_an_unknown_name_suggests_the_nearest_and_says_what_kind_it_is_elsewhere():
    registry = installed_plugins().registry
    with pytest.raises(UnknownComponentError, match="did you mean 'gaussian'"):
        registry.find("path", "gausian")
    with pytest.raises(UnknownComponentError, match="'heun' is the name of a component of kind integrator"):
        registry.find("path", "heun")
    with pytest.raises(UnknownComponentError, match=r"no kind 'heun'.*'heun' is the name of a component of kind integ"):
        registry.kind("heun")
    with pytest.raises(UnknownComponentError, match=r"there is no kind 'integrater' \(did you mean 'integrator'"):
        registry.find("integrater", "heun")


def test_recipes_are_found_and_suggested():
    manager = PluginManager({})
    manager.add(plugin(recipes=[Recipe("moons", "a:b.yaml")]), "one:main", "one")
    assert manager.recipe("moons")[0].target == "a:b.yaml"
    with pytest.raises(UnknownComponentError, match="did you mean 'moons'"):
        manager.recipe("moon")


NO_TORCH = """
import sys
{code}
heavy = [name for name in ("torch", "numpy", "matplotlib", "sklearn", "accelerate") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "code",
    [
        "import flowkit",
        "from flowkit.plugins import installed_plugins; list(installed_plugins().registry)",
        "from flowkit.cli import main",
        "from flowkit.plugins import PluginManager as P; assert not list(P.discover({'FLOWKIT_PLUGINS': ''}).registry)",
    ],
)
def test_listing_imports_nothing_heavy(code):
    subprocess.run([sys.executable, "-c", NO_TORCH.format(code=code)], check=True)


def test_the_core_names_no_standard_component():
    from pathlib import Path

    import flowkit

    ours = [entry for entry in installed_plugins().registry if entry.distribution == "flowkit-torch"]
    quantities = {"data", "noise", "score", "velocity", "v"}
    words = {"joint", "images", "array", "beta", "constant", "uniform", "unit", "field", *quantities}
    names = {entry.component.name for entry in ours} - words - {"cosine"}
    root = Path(flowkit.__file__).parent
    for path in root.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        for name in names:
            assert f'= "{name}"' not in code, f"{path} has {name!r} as a default"


def test_a_misspelt_hook_is_named():
    @hookimpl
    def flowkit_component():
        return []

    record = PluginManager({}).add(types.SimpleNamespace(flowkit_component=flowkit_component), "one:main", "one")
    assert record.status == "failed"
    assert "there is no hook 'flowkit_component' (did you mean 'flowkit_components'?)" in record.error


def test_a_plugin_that_ends_the_process_is_only_reported(tmp_path, monkeypatch):
    (tmp_path / "a_module_that_exits.py").write_text("import sys; sys.exit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    manager = PluginManager({})
    manager.add(plugin(Component("path", "spiral", "a_module_that_exits:Spiral")), "one:main", "one", "1.0")
    with pytest.raises(PluginError, match="cannot be imported: SystemExit: 7"):
        manager.registry.load(manager.registry.find("path", "spiral"))


def test_what_a_removed_package_leaves_behind_stops_nobody(tmp_path, monkeypatch):
    leftover = tmp_path / "gone-1.0.dist-info"
    leftover.mkdir()
    (leftover / "entry_points.txt").write_text("[flowkit]\ngone = gone.plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    manager = PluginManager.discover({})
    assert manager.registry.find("path", "gaussian")
    assert any(record.status == "failed" and "gone" in record.error for record in manager.records)


@pytest.mark.parametrize("name", ["flowkit_torch", "Flowkit.Torch", "flowkit-torch:ode"])
def test_distributions_are_named_as_packaging_tools_do(name):
    manager = PluginManager.discover({"FLOWKIT_DISABLE_PLUGINS": name})
    assert not any(entry.component.name == "heun" for entry in manager.registry)


def test_a_target_may_name_a_package_that_exports_the_class():
    manager = PluginManager({})
    manager.add(
        plugin(Component("path", "same", "flowkit_gaussian.plugin_exports:GaussianPath")), "broken:main", "broken"
    )
    manager.add(plugin(Component("path", "mine", "a_package_of_mine:GaussianPath")), "one:main", "one")
    package = types.ModuleType("a_package_of_mine")
    package.GaussianPath = type(fk.create("path", "gaussian"))
    sys.modules["a_package_of_mine"] = package
    try:
        assert manager.registry.entry_of("path", fk.create("path", "gaussian")).component.name == "mine"
    finally:
        del sys.modules["a_package_of_mine"]


@pytest.mark.parametrize("variable", ["FLOWKIT_DISABLE_PLUGINS", "FLOWKIT_PLUGINS"])
def test_a_switch_that_names_no_plugin_is_warned_of(variable):
    with pytest.warns(FlowkitWarning) as told:
        PluginManager.discover({variable: "flowkit-torch:oed,flowkit_torch:sde"})
    (text,) = (str(warning.message) for warning in told)
    start = f"{variable}: no installed plugin is called 'flowkit-torch:oed' (did you mean 'flowkit-torch:ode'?); there "
    assert text.startswith(start)
    assert "flowkit-torch:sde" in text.removeprefix(start)


def test_switches_that_name_plugins_are_taken_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PluginManager.discover({"FLOWKIT_DISABLE_PLUGINS": "Flowkit_Torch:ode", "FLOWKIT_PLUGINS": "flowkit-torch"})
        PluginManager.discover({"FLOWKIT_PLUGINS": ""})
