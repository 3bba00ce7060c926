"""The JSON Schema for editors says the same of a configuration as the reader does."""

import json
import types
from collections.abc import Callable
from typing import Annotated, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from typing_extensions import deprecated

import flowkit as fk
from flowkit.config.choice import dump
from flowkit.config.config import SECTIONS, read_config
from flowkit.config.files import parse_yaml
from flowkit.config.resolve import Resolver
from flowkit.config.schema import schema_and_failures
from flowkit.errors import ConfigError
from flowkit.pipeline.recipes import recipe_text
from flowkit.plugins import Component, PluginManager, hookimpl, installed_plugins

PLUGINS = installed_plugins()


@pytest.fixture(scope="module")
def validator():
    schema, failures = schema_and_failures(PLUGINS)
    assert not failures
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def agree(validator, given, plugins=PLUGINS):
    """Whether the reader takes it; the schema must say the same."""
    try:
        read_config(given, plugins)
        taken = True
    except ConfigError:
        taken = False
    assert validator.is_valid(given) == taken, [error.message[:200] for error in validator.iter_errors(given)]
    return taken


@pytest.mark.parametrize("recipe", [recipe.name for recipe, _ in PLUGINS.recipes])
def test_every_recipe_follows_it_as_written_and_as_filled_in(validator, recipe):
    given = parse_yaml(recipe_text(recipe, PLUGINS), recipe)
    assert agree(validator, given)
    assert agree(validator, read_config(given, PLUGINS).dump())


def test_every_default_configuration_follows_it(validator):
    for data in ("moons", "digits"):
        assert agree(validator, {"data": data})
        assert agree(validator, read_config({"data": data}, PLUGINS).dump())


@pytest.fixture(scope="module")
def alone(validator):
    """Kind to the validator of one component of it."""
    definitions = validator.schema["$defs"]
    kinds = PLUGINS.registry.kinds
    return {kind: Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": definitions}) for kind in kinds}


@pytest.mark.parametrize(
    "entry", list(PLUGINS.registry), ids=lambda entry: f"{entry.component.kind}-{entry.component.name}"
)
def test_every_component_is_taken_by_both_as_a_name_and_filled_in_or_by_neither(alone, entry):
    kind, name = entry.component.kind, entry.component.name

    def agree(given):
        resolver = Resolver(PLUGINS.registry)
        choice = resolver.choice(kind, given, kind)
        assert alone[kind].is_valid(given) == (not resolver.problems)
        return None if resolver.problems else choice

    for bare in (name, entry.qualified, {"name": name}, {"name": entry.qualified}):
        choice = agree(bare)
        if choice:
            assert agree(dump(choice))
    assert not agree({"name": name, "no_such_setting": 1})
    assert not agree(f"{name}_2")


@pytest.mark.parametrize(
    "given",
    [
        {"data": "moons", "path": {"schedule": "vp"}},  # settings of a default without its name
        {"data": "moons", "network": {"width": 7}},
        {"data": "moons", "path": {"name": "gaussian", "schedule": {"name": "vp", "rate_max": 3}}},
        {"data": "moons", "sampling": {"diffusion": {"scale": 2.0}, "guidance": None, "grid": None}},
        {"data": "moons", "network": None, "training": None, "sampling": None, "evaluation": None, "callbacks": None},
        {"data": "moons", "evaluation": {"metrics": ["wasserstein"]}},
        {"data": "moons", "evaluation": {"metrics": "wasserstein"}},
        {"data": "moons", "training": {"gradient_clip": None, "decay": "none"}},
        {"data": {"name": "array", "path": "points.npy"}},
        {"data": "flowkit-torch/moons", "provenance": {"packages": {}}},
    ],
)
def test_what_is_right_is_right_to_both(validator, given):
    assert agree(validator, given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": None},
        {"data": 3},
        {"data": ["moons"]},
        {"data": {"noise": 0.1}},
        {"data": "moon"},
        {"data": "array"},  # needs its path
        {"data": {"name": "array"}},
        {"data": {"name": "moons", "noize": 0.1}},
        {"data": "moons", "netwrok": "mlp"},
        {"data": "moons", "network": {"name": "mlp", "width": 0}},
        {"data": "moons", "network": {"name": "mlp", "width": "wide"}},
        {"data": "moons", "network": {"name": "mlp", "width": None}},
        {"data": "moons", "network": {"name": "mlp", "multipliers": [1]}},  # of the unet
        {"data": "moons", "path": {"name": "gaussian", "schedule": "vpp"}},
        {"data": "moons", "path": {"name": "gaussian", "schedule": None}},
        {"data": "moons", "path": {"name": "gaussian", "schedule": {"name": "vp", "rate_max": -1}}},
        {"data": "moons", "path": "heun"},
        {"data": "moons", "path": "elsewhere/gaussian"},
        {"data": "moons", "training": {"steps": 0}},
        {"data": "moons", "training": {"decay": "slow"}},
        {"data": "moons", "training": ["steps"]},
        {"data": "moons", "sampling": {"integrater": "heun"}},
        {"data": "moons", "evaluation": {"metrics": [{"label": 1}]}},
        {"data": "moons", "callbacks": "nobody"},
    ],
)
def test_what_is_wrong_is_wrong_to_both(validator, given):
    assert not agree(validator, given)


def test_settings_carry_what_an_editor_shows(validator):
    width = validator.schema["$defs"]["network.mlp"]["properties"]["width"]
    assert (width["type"], width["default"], width["exclusiveMinimum"]) == ("integer", 128, 0)
    assert width["description"]
    schedule = validator.schema["$defs"]["path.gaussian"]["properties"]["schedule"]
    assert schedule["default"] == "condot"
    assert schedule["description"]
    steps = validator.schema["properties"]["training"]["properties"]["steps"]
    assert (steps["default"], steps["description"]) == (3000, "optimizer steps")
    assert set(validator.schema["properties"]) == set(SECTIONS)


def test_every_setting_of_every_component_is_described(validator):
    silent = [
        f"{key}.{name}"
        for key, definition in validator.schema["$defs"].items()
        for name, setting in (definition.get("properties", {}) if definition else {}).items()
        if "." in key and "description" not in setting
    ]
    assert not silent, f"no line under 'Arguments:' for {silent}"


class Level(BaseModel):
    depth: int = 1


class Odd(fk.Path):
    """A path with settings of every sort.

    Arguments:
        ratio: Between 0 and 1,
            in two lines.
        level: A model.
    """

    def __init__(
        self,
        ratio: Annotated[float, Field(ge=0, le=1)],
        mode: Literal["a", "b"] = "a",
        level: Level = Level(),  # noqa: B008
        sizes: tuple[int, ...] = (1, 2),
        around: "fk.Path | None" = None,
    ) -> None:
        self.ratio, self.mode, self.level, self.sizes, self.around = ratio, mode, level, sizes, around

    def sample(self, x0, z, t, generator=None):
        return z

    def velocity(self, x, x0, z, t):
        return z


def with_strangers(*groups):
    plugins = PluginManager.discover()
    for i, components in enumerate(groups):

        @hookimpl
        def flowkit_components(components=components):
            return components

        plugins.add(
            types.SimpleNamespace(flowkit_components=flowkit_components), f"stranger{i}:main", f"stranger{i}", "1.0"
        )
    return plugins


def test_a_strangers_component_is_described_like_ours_recursively():
    plugins = with_strangers([Component("path", "odd", Odd)])
    validator = Draft202012Validator(fk.json_schema(plugins))
    ratio = validator.schema["$defs"]["path.odd"]["properties"]["ratio"]
    assert ratio == {"description": "Between 0 and 1, in two lines.", "type": "number", "minimum": 0, "maximum": 1}
    inner = {"name": "odd", "ratio": 0.5, "mode": "b", "level": {"depth": 2}, "sizes": [3]}
    assert agree(validator, {"data": "moons", "path": inner | {"around": inner}}, plugins)
    assert agree(validator, {"data": "moons", "path": inner | {"around": "gaussian"}}, plugins)
    for wrong in ({"ratio": 2}, {"mode": "c"}, {"level": {"depth": "x"}}, {"sizes": ["x"]}, {"around": "odd"}):
        assert not agree(validator, {"data": "moons", "path": inner | wrong}, plugins)
        assert not agree(validator, {"data": "moons", "path": inner | {"around": inner | wrong}}, plugins)


def test_a_name_that_two_claim_is_valid_with_its_distribution_alone():
    plugins = with_strangers([Component("path", "odd", Odd)], [Component("path", "odd", Odd)])
    validator = Draft202012Validator(fk.json_schema(plugins))
    assert agree(validator, {"data": "moons", "path": {"name": "stranger0/odd", "ratio": 0.1}}, plugins)
    assert agree(validator, {"data": "moons", "path": {"name": "stranger1/odd", "ratio": 0.1}}, plugins)
    assert not agree(validator, {"data": "moons", "path": {"name": "odd", "ratio": 0.1}}, plugins)


def test_a_deprecated_component_is_marked_and_what_derives_from_it_is_not():
    @deprecated("use gaussian", category=FutureWarning)
    class Old(Odd):
        """An old path."""

    with pytest.warns(FutureWarning, match="use gaussian"):

        class New(Old):
            """A path that was made of it."""

    definitions = fk.json_schema(with_strangers([Component("path", "old", Old), Component("path", "new", New)]))[
        "$defs"
    ]
    assert definitions["path.old"]["deprecated"]
    assert "deprecated" not in definitions["path.new"]


def test_a_broken_component_is_left_out_and_named():
    plugins = with_strangers([Component("path", "broken", "not_there_at_all:Path")])
    schema, failures = schema_and_failures(plugins)
    assert "path.broken" not in schema["$defs"]
    assert failures == [
        "path 'broken' of stranger0 1.0 cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all'"
    ]
    assert not agree(Draft202012Validator(schema), {"data": "moons", "path": "broken"}, plugins)


class Undescribed:
    """A type that has no JSON Schema to give."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return handler.generate_schema(int)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        raise RuntimeError("no schema today")


class Hidden(Odd):
    """A path that editors cannot be told of."""

    def __init__(self, secret: Undescribed) -> None:
        self.secret = secret


class Endless(Odd):
    """A path with a default that JSON cannot write."""

    def __init__(self, limit: float = float("inf"), anything: Callable[[int], int] | None = None) -> None:
        self.limit, self.anything = limit, anything


def test_what_json_has_no_words_for_is_left_open_or_left_out():
    plugins = with_strangers([Component("path", "hidden", Hidden), Component("path", "endless", Endless)])
    schema, failures = schema_and_failures(plugins)
    assert failures == ["path stranger0/hidden 1.0: RuntimeError: no schema today"]
    json.dumps(schema, allow_nan=False)
    assert agree(Draft202012Validator(schema), {"data": "moons", "path": {"name": "endless", "limit": 3}}, plugins)


def test_without_plugins_there_is_still_a_schema():
    schema = fk.json_schema(PluginManager.discover({"FLOWKIT_PLUGINS": ""}))
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({"data": "moons"})
