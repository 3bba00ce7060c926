"""Reading whole configurations: defaults filled in, every problem at once."""

import pytest
import torch
from oracles import mixture

import flowkit as fk
from flowkit.config.config import read_config
from flowkit.config.files import merge, override, parse_yaml, write_yaml
from flowkit.config.schema import json_schema
from flowkit.errors import ConfigError
from flowkit.plugins import PluginManager, installed_plugins


def problems(given, plugins=None):
    with pytest.raises(ConfigError) as caught:
        read_config(given, plugins or installed_plugins())
    return {problem.where: problem.message for problem in caught.value.problems}


def test_data_alone_is_enough():
    config = read_config({"data": "moons"}, installed_plugins()).dump()
    assert config["network"]["name"] == "mlp"
    assert config["path"] == {"name": "gaussian", "schedule": {"name": "condot"}}
    assert config["sampling"]["integrator"] == {"name": "heun"}


def test_images_get_the_network_for_images():
    assert read_config({"data": "digits"}, installed_plugins()).dump()["network"]["name"] == "unet"


def test_a_dump_is_a_fixed_point():
    config = read_config({"data": "moons", "sampling": {"integrator": "euler_maruyama"}}, installed_plugins()).dump()
    assert read_config(parse_yaml(write_yaml(config), "x"), installed_plugins()).dump() == config


def test_a_stochastic_integrator_gets_the_default_diffusion():
    config = read_config({"data": "moons", "sampling": {"integrator": "euler_maruyama"}}, installed_plugins())
    assert config.dump()["sampling"]["diffusion"]["name"] == "beta"


def test_settings_may_be_given_without_the_name_of_the_default():
    config = read_config({"data": "moons", "network": {"width": 7}}, installed_plugins()).dump()
    assert (config["network"]["name"], config["network"]["width"]) == ("mlp", 7)


def test_every_problem_is_reported_at_once_with_its_place():
    found = problems(
        {
            "data": "moons",
            "path": {"name": "gausian"},
            "network": {"name": "mlp", "widht": 3, "depth": -1},
            "loss": {"name": "cfm", "time": {"name": "uniform", "low": "early"}},
            "training": {"steps": 0, "batchsize": 3},
            "sampling": {"integrator": "huen", "steps": "many"},
            "extra": 1,
        }
    )
    assert "did you mean 'gaussian'" in found["path"]
    assert "did you mean 'width'" in found["network.widht"]
    assert "greater than 0; got -1" in found["network.depth"]
    assert "number" in found["loss.time.low"]
    assert "greater than 0" in found["training.steps"]
    assert "did you mean 'batch_size'" in found["training.batchsize"]
    assert "did you mean 'heun'" in found["sampling.integrator"]
    assert "integer" in found["sampling.steps"]
    assert "no such section; sections: " in found["extra"]
    assert len(found) == 9


def test_what_is_not_of_the_type_is_told_what_is_allowed():
    found = problems({"data": "moons", "training": {"steps": "many"}, "sampling": {"compile": "maybe"}})
    assert found["training.steps"] == "should be a valid integer; got 'many'"
    assert found["sampling.compile"] == "should be true or false; got 'maybe'"


def test_a_component_without_settings_is_said_to_have_none():
    given = {"path": {"schedule": {"rate_max": 15}}, "sampling": {"integrator": {"nam": "heun"}}}
    given["coupling"] = {"name": "independent", "widht": 3}
    assert problems({"data": "moons"} | given) == {
        "path.schedule.rate_max": (
            "schedule 'condot' has no settings; 'rate_max' is a setting of sub_vp and vp, chosen as in {name: sub_vp}"
        ),
        "sampling.integrator.nam": "integrator 'heun' has no settings (did you mean 'name'?)",
        "coupling.widht": "coupling 'independent' has no settings",
    }


def test_a_misspelt_name_of_a_component_is_no_setting_of_the_default():
    found = problems({"data": "moons", "network": {"nam": "mlp"}})["network.nam"]
    assert found.startswith("no such setting (did you mean 'name'?); settings: width, ")
    found = problems({"data": "moons", "network": {"multipliers": [1]}})["network.multipliers"]
    assert found.endswith("; 'multipliers' is a setting of unet, chosen as in {name: unet}")


def test_settings_of_sampling_without_a_name_change_the_component_that_is_there():
    registry = installed_plugins().registry
    guidance = {"name": "classifier_free", "rescale": 0.5}
    config = read_config(
        {"data": "moons", "sampling": {"guidance": guidance, "integrator": "dopri5"}}, installed_plugins()
    )
    changed = config.with_sampling({"guidance": {"scale": 3}, "integrator": {"rtol": 0.1}}, registry).dump()["sampling"]
    assert changed["guidance"] == config.dump()["sampling"]["guidance"] | {"scale": 3.0}
    assert changed["integrator"] == config.dump()["sampling"]["integrator"] | {"rtol": 0.1}
    replaced = config.with_sampling({"guidance": {"name": "classifier_free", "scale": 3}}, registry).dump()["sampling"]
    assert replaced["guidance"]["rescale"] == 0


def test_a_setting_of_a_nested_object_goes_with_the_rest_of_it_kept():
    registry, weaker = installed_plugins().registry, mixture()
    given = {"data": "moons", "sampling": {"guidance": {"name": "autoguidance", "weaker": weaker}}}
    config = read_config(given, installed_plugins())
    choice = config.with_sampling({"guidance": {"scale": 3}}, registry).sampling["guidance"]
    assert choice.settings["scale"] == 3
    assert choice.settings["weaker"].instance is weaker


def test_settings_of_an_object_that_is_not_registered_are_its_own():
    class Same(fk.Guidance):
        def guide(self, model):
            return model

    config = read_config({"data": "moons", "sampling": {"guidance": Same()}}, installed_plugins())
    with pytest.raises(ConfigError, match=r"sampling.guidance: is an object of Same, whose settings are its own: give"):
        config.with_sampling({"guidance": {"scale": 3}}, installed_plugins().registry)


def test_settings_without_a_name_are_told_of_the_components_that_have_them():
    for settings, message in (
        ({"scale": 3}, "give the guidance a name beside 'scale': cfg_zero_star or classifier_free"),
        ({"scale": 3, "rescale": 0.5}, "give the guidance a name beside 'scale' and 'rescale': classifier_free"),
        ({"sclae": 3}, "give the guidance a name, as in {name: autoguidance}"),
    ):
        assert problems({"data": "moons", "sampling": {"guidance": settings}}) == {"sampling.guidance": message}


def test_where_null_is_allowed_the_message_says_so():
    given = {"training": {"gradient_clip": "none"}, "sampling": {"guidance": "none", "integrator": "none"}}
    found = problems({"data": "moons"} | given)
    assert found["training.gradient_clip"] == "should be a valid number or null; got 'none'"
    assert found["sampling.guidance"] == "there is no guidance 'none': null leaves it out"
    assert "there is no integrator 'none'; choose from" in found["sampling.integrator"]
    assert problems({"data": "moons", "training": {"gradient_clip": -1}}) == {
        "training.gradient_clip": "should be greater than 0 or null; got -1"
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("steps", "'training.steps' or 'sampling.steps'"),
        ("integrator", "'sampling.integrator'"),
        ("schedule", "'path.schedule' or 'sampling.schedule'"),
        ("width", "'network.width'"),
        ("lr", "'training.learning_rate'"),
        ("epochs", "'training.steps'"),
    ],
)
def test_a_setting_without_its_section_is_told_where_it_belongs(name, hint):
    assert f"did you mean {hint}?" in problems({"data": "moons", name: 3})[name]


def test_settings_that_other_programs_have_lead_to_ours():
    found = problems(
        {"data": "moons", "training": {"lr": 1e-3, "batch": 3, "ema": 0.9, "epochs": 3, "wramup_steps": 1}}
    )
    hints = {"lr": "learning_rate", "batch": "batch_size", "ema": "ema_decay", "wramup_steps": "warmup_steps"}
    for name, hint in hints.items():
        assert f"no such setting (did you mean {hint!r}?); settings: steps," in found[f"training.{name}"]
    assert "(steps are counted, not epochs: did you mean 'steps'?)" in found["training.epochs"]
    assert "'epochs'" not in problems({"data": "moons", "evaluation": {"epochs": 3}})["evaluation.epochs"]


def test_a_truth_value_is_no_number():
    given = {
        "data": "moons",
        "training": parse_yaml("steps: yes", "x"),
        "coupling": {"name": "sinkhorn", "regularization": True},
        "sampling": {"grid": {"name": "explicit", "values": [False, 0.5, True]}},
    }
    assert problems(given) == {
        "training.steps": "takes numbers, not true or false; got True",
        "coupling.regularization": "takes numbers, not true or false; got True",
        "sampling.grid.values": "takes numbers, not true or false; got [False, 0.5, True]",
    }
    read_config({"data": {"name": "moons", "labels": True}, "training": {"learning_rate": 1}}, installed_plugins())


def test_no_mixed_precision_is_written_as_no():
    for text in ("no", "'no'", "false"):
        given = override({"data": "moons"}, [f"training.mixed_precision={text}"])
        config = read_config(given, installed_plugins())
        assert config.dump()["training"]["mixed_precision"] == "no"
    message = "should be 'no', 'fp16' or 'bf16'; got True"
    given = override({"data": "moons"}, ["training.mixed_precision=yes"])
    assert problems(given) == {"training.mixed_precision": message}
    schema = json_schema()["properties"]["training"]["properties"]["mixed_precision"]
    assert (schema["enum"], schema["default"]) == (["no", "fp16", "bf16"], "no")


def test_a_setting_of_several_types_has_one_line():
    given = {"name": "gaussian_mixture", "means": [[0.0, 0.0]], "covariances": ["wide"]}
    assert problems({"data": given}) == {
        "data.covariances": "should be a valid number or should be a valid list; got ['wide']"
    }


def test_a_missing_part_without_a_default_is_required():
    assert "is required; choose from: array, checkerboard, " in problems({})["data"]
    without = PluginManager.discover({"FLOWKIT_DISABLE_PLUGINS": "flowkit-torch:couplings"})
    assert "coupling" in problems({"data": "moons"}, without)


POINTS = torch.zeros(100, 2)


@pytest.mark.parametrize(
    ("data", "way"),
    [
        (POINTS, ": give an array or a tensor as fk.InMemory(torch.as_tensor(x))"),
        (POINTS.numpy(), ": give an array or a tensor as fk.InMemory(torch.as_tensor(x))"),
        (torch.utils.data.TensorDataset(POINTS), ": give a torch Dataset or DataLoader as an fk.Dataset with spec,"),
        (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(POINTS)), ": give a torch Dataset or DataLoader"),
    ],
)
def test_data_that_are_no_data_source_are_told_how_to_become_one(data, way):
    found = problems({"data": data})
    assert f"an object of DataSource; got a {type(data).__name__}{way}" in found["data"]
    assert "give" not in problems({"data": "moons", "network": POINTS})["network"]


@pytest.mark.parametrize("given", [3, ["moons"], {"noise": 0.1}])
def test_a_component_needs_a_name(given):
    assert "data" in problems({"data": given})


def test_an_object_of_a_registered_class_is_described_by_its_attributes():
    path = fk.create("path", "gaussian", schedule={"name": "vp", "rate_max": 15.0})
    dumped = read_config({"data": "moons", "path": path}, installed_plugins()).dump()["path"]
    assert dumped == {"name": "gaussian", "schedule": {"name": "vp", "rate_min": 0.1, "rate_max": 15.0}}


MIXTURE = {"means": [[-2.0, 0.0], [2.0, 0.0]], "covariances": [1.0, 0.5]}
REQUIRED = {
    ("data", "gaussian_mixture"): MIXTURE,
    ("field", "finite_data"): {"path": "gaussian", "data": "moons"},
    ("field", "gaussian_mixture"): {"path": "gaussian", **MIXTURE},
    ("guidance", "autoguidance"): {"weaker": {"name": "gaussian_mixture", "path": "gaussian", **MIXTURE}},
    ("guidance", "chain"): {"guidances": ["classifier_free"]},
    ("source", "data"): {"data": "moons"},
    ("grid", "explicit"): {"values": [0.0, 0.5, 1.0]},
    ("loss", "fm"): {"exact": mixture()},
    ("loss", "sm"): {"exact": mixture()},
}
"""The settings of components that have some without a default."""


def test_every_standard_component_reads_back_from_its_attributes(tmp_path):
    from flowkit.config.choice import build, dump
    from flowkit.config.resolve import Resolver

    plugins = installed_plugins()
    for entry in plugins.registry:
        component = entry.component
        if entry.distribution != "flowkit-torch" or component.name in ("array", "images", "run"):
            continue
        resolver = Resolver(plugins.registry)
        given = {"name": component.name, **REQUIRED.get((component.kind, component.name), {})}
        choice = resolver.choice(component.kind, given, component.name)
        assert not resolver.problems
        shape = (1, 8, 8) if component.name in ("unet", "dit") else (2,)
        instance = build(choice, plugins.registry, event_shape=shape, outputs=1, num_classes=None)
        described = resolver.describe(component.kind, instance)
        assert described is not None, f"{component.kind} {component.name}"
        assert dump(described) == dump(choice)


def test_overrides_reach_into_names_and_replace_components():
    given = {"data": "moons", "path": "gaussian", "network": {"name": "mlp", "width": 3}}
    changed = override(given, ["path.schedule=cosine", "network=unet", "training.learning_rate=1e-4"])
    assert changed["path"] == {"name": "gaussian", "schedule": "cosine"}
    assert changed["network"] == "unet"
    assert override(given, ["network.name=unet"])["network"] == {"name": "unet"}
    assert override(given, ["network.name=mlp"])["network"] == {"name": "mlp", "width": 3}
    config = read_config({"data": "moons", "training": changed["training"]}, installed_plugins())
    assert config.training.learning_rate == 1e-4


SCHEDULE_15 = {"path": {"name": "gaussian", "schedule": {"name": "vp", "rate_max": 15}}}


@pytest.mark.parametrize(
    ("assignments", "after"),
    [
        (["path.schedule.rate_max=15", "path.schedule=vp"], SCHEDULE_15),
        (["path.schedule.rate_max=15", "path.schedule.name=vp"], SCHEDULE_15),
        (["path.schedule.rate_max=15", "path={name: gaussian, schedule: vp}"], SCHEDULE_15),
        (["path.schedule=vp", "path.schedule.rate_max=15", "path=gaussian"], SCHEDULE_15),
        (["path.schedule.rate_max=1", "path.schedule=vp", "path.schedule.rate_max=15"], SCHEDULE_15),
        (["path.schedule.rate_max=1", "path={name: gaussian, schedule: {name: vp, rate_max: 15}}"], SCHEDULE_15),
    ],
)
def test_what_is_chosen_comes_before_what_is_set_of_it_in_whatever_order(assignments, after):
    assert override({"path": {"name": "gaussian", "schedule": "cosine"}}, assignments) == after


def test_a_chosen_component_drops_the_settings_of_the_file_but_not_those_beside_it():
    given = {"network": {"name": "mlp", "width": 3, "depth": 5}}
    assert override(given, ["network.width=32", "network=unet"])["network"] == {"name": "unet", "width": 32}
    assert override(given, ["network=unet", "network.width=32"])["network"] == {"name": "unet", "width": 32}
    found = problems(override({"data": "moons"}, ["path.schedule.rate_max=15", "path.schedule=cosine"]))
    assert list(found) == ["path.schedule.rate_max"]


@pytest.mark.parametrize("text", ["training.steps=3", "sampling.guidance.scale=3"])
def test_an_override_does_not_discard_a_list(text):
    given = {"training": [1, 2], "sampling": {"guidance": [{"name": "classifier_free"}, {"name": "autoguidance"}]}}
    with pytest.raises(ConfigError, match="is a list here"):
        override(given, [text])
    assert override(given, ["sampling.guidance=autoguidance"])["sampling"] == {"guidance": "autoguidance"}


def test_whole_numbers_may_be_written_with_an_exponent():
    given = override({"data": "moons"}, ["training.steps=1e5", "training.learning_rate=2e-4", "sampling.steps=.2e2"])
    config = read_config(given, installed_plugins())
    assert (config.training.steps, config.training.learning_rate, config.sampling["steps"]) == (100_000, 2e-4, 20)
    assert isinstance(config.training.steps, int)
    assert read_config({"data": "moons", "training": {"steps": 1e5}}, installed_plugins()).training.steps == 100_000
    found = problems(override({"data": "moons"}, ["training.steps=15e-1"]))["training.steps"]
    assert found.endswith("got 1.5")


def test_texts_that_look_like_numbers_are_read_back_as_texts():
    given = {"a": {"texts": ["1e5", "-.5E3", "12", "no", "1e5 "], "numbers": [1e5, 1e-7, 1e300]}}
    assert parse_yaml(write_yaml(given), "x") == given


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=1", "training.steps=[1"])
def test_a_malformed_override_is_named(text):
    with pytest.raises(ConfigError, match=r"form|valid YAML"):
        override({}, [text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1: not valid YAML"),
        ("- a", "holds a list"),
        ("", "holds nothing"),
        ("a: 1\na: 2", "line 2.*'a' is given twice"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "file.yaml")


def test_merging_keeps_settings_of_one_component_and_drops_those_of_another():
    first = {"network": {"name": "mlp", "width": 3}, "training": {"steps": 1}}
    assert merge(first, {"network": {"depth": 2}})["network"] == {"name": "mlp", "width": 3, "depth": 2}
    assert merge(first, {"network": {"name": "unet"}})["network"] == {"name": "unet"}
    assert merge(first, {"training": {"seed": 2}})["training"] == {"steps": 1, "seed": 2}


def test_sections_of_a_recipe_are_not_looked_at_to_report_a_mistake_elsewhere():
    recipe = {"data": "moons", "network": {"name": "mlp", "width": "not looked at"}, "loss": "cfm"}
    with pytest.raises(ConfigError) as caught:
        read_config(recipe | {"loss": "cmf"}, installed_plugins(), recipe=recipe)
    assert [problem.where for problem in caught.value.problems] == ["loss"]
    with pytest.raises(ConfigError) as caught:
        read_config(recipe | {"loss": "cmf"}, installed_plugins())
    assert [problem.where for problem in caught.value.problems] == ["network.width", "loss"]


def test_settings_put_over_a_name_stay_with_the_component():
    assert merge({"loss": "csm"}, {"loss": {"time": {"low": 0.1}}}) == {"loss": {"name": "csm", "time": {"low": 0.1}}}
    assert merge({"loss": "csm"}, {"loss": {"name": "cfm"}}) == {"loss": {"name": "cfm"}}
    builder = fk.Pipeline.builder().recipe("moons").from_config({"data": {"noise": 0.1}})
    assert builder.build().config["data"] == {"name": "moons", "noise": 0.1, "labels": False}


def test_settings_beside_an_object_are_refused():
    with pytest.raises(ConfigError, match="path: settings go with the name of a path"):
        fk.Pipeline.builder().path(fk.create("path", "gaussian"), schedule="cosine")
