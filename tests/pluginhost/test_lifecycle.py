"""Lifecycle hooks: when they fire and with what, their order, and that none can harm the run or another plugin."""

import dataclasses
import inspect
import json
import logging
import signal
import types
import typing

import pytest
import torch

import flowkit as fk
from flowkit.plugins import PluginManager, StepEnded, TrainingStarted, contexts, hookimpl
from flowkit.plugins.contexts import Context
from flowkit.plugins.hookspecs import FlowkitHooks
from flowkit.plugins.lifecycle import listener, tell

CONTEXTS = Context.__subclasses__()
HOOKS = [context.hook for context in CONTEXTS]


@pytest.fixture
def manager():
    """The standard plugins, to which a test adds its own."""
    return PluginManager.discover({})


def implementing(**hooks):
    """A plugin with these hooks; a pair is a function with options of `hookimpl`."""
    plugin = types.SimpleNamespace()
    for name, hook in hooks.items():
        function, options = hook if isinstance(hook, tuple) else (hook, {})
        setattr(plugin, name, hookimpl(function, **options))
    return plugin


def watching(seen, *hooks, also=None):
    """A plugin that notes the contexts it gets."""

    def watch(name):
        def hook(context):
            seen.append((name, context))
            if also:
                also(context)

        return hook

    return implementing(**{name: watch(name) for name in hooks or HOOKS})


def failing(error, *hooks):
    def fail(context):
        raise error

    return implementing(**dict.fromkeys(hooks or HOOKS, fail))


def builder(manager, **training):
    settings = {"steps": 6, "batch_size": 16, "log_every": 3, "checkpoint_every": 3, **training}
    network = fk.Pipeline.builder(manager).data("moons").network("mlp", width=8, depth=1)
    return network.training(**settings).sampling("euler", steps=2)


def weights(pipeline):
    return torch.cat([parameter.detach().flatten() for parameter in pipeline.model.parameters()])


def test_a_run_tells_its_life_in_order(manager, tmp_path):
    seen = []
    manager.add(watching(seen), "notebook")
    builder(manager).build().fit(tmp_path / "run")
    fk.Pipeline.load(tmp_path / "run", plugins=manager).sample(4)
    names = [name.removeprefix("flowkit_") for name, _ in seen]
    names.remove("checkpoint_saved")  # the first of two is written while the steps after it are taken
    assert names == [
        "configuration_built",
        "training_started",
        *["step_ended"] * 6,
        "checkpoint_saved",
        "training_ended",
        "configuration_built",
        "checkpoint_loaded",
        "sampling_started",
        "sampling_ended",
    ]
    assert [context.step for _, context in seen if isinstance(context, StepEnded)] == [1, 2, 3, 4, 5, 6]


def test_contexts_hold_what_they_say(manager, tmp_path):
    seen = []
    manager.add(watching(seen), "notebook")
    pipeline = builder(manager).build().fit(tmp_path / "run")
    builder(manager, steps=9).build().fit(tmp_path / "run", resume=True)
    samples = pipeline.sample(4, seed=3, steps=1)
    trajectory = pipeline.trajectory(4, seed=3)
    found = {name.removeprefix("flowkit_"): [c for n, c in seen if n == name] for name in HOOKS}
    assert found["configuration_built"][0].config == pipeline.config
    assert found["configuration_built"][0].pipeline is pipeline
    first, second = found["training_started"]
    assert (first.step, first.steps, second.step, second.steps) == (0, 6, 6, 9)
    assert first.model is pipeline.model
    assert first.folder == tmp_path / "run"
    assert first.is_main_process
    assert first.config["path"] == pipeline.config["path"]
    assert "components" in first.config["provenance"]
    logged = [json.loads(line)["loss"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = torch.stack([context.loss for context in found["step_ended"]]).reshape(3, 3).mean(1)
    assert losses.tolist() == pytest.approx(logged, rel=1e-5)
    assert not found["step_ended"][0].loss.requires_grad
    assert [context.error for context in found["training_ended"]] == [None, None]
    assert [context.checkpoint.name for context in found["checkpoint_saved"]] == [
        f"step-{step:08d}" for step in (3, 6, 9)
    ]
    (loaded,) = found["checkpoint_loaded"]
    assert (loaded.step, loaded.resumes_training, loaded.checkpoint.name) == (6, True, "step-00000006")
    drawn, last = found["sampling_ended"]
    assert drawn.samples is samples
    assert (drawn.seed, drawn.settings, drawn.pipeline) == (3, {"steps": 1}, pipeline)
    assert torch.equal(last.samples, trajectory[-1])
    assert found["sampling_started"][0].n == 4


def test_a_run_that_fails_says_why_it_ended(manager, tmp_path):
    seen = []

    def stop(context):
        if context.step == 4:
            signal.raise_signal(signal.SIGINT)

    manager.add(watching(seen, "flowkit_step_ended", also=stop), "stopper")
    manager.add(watching(seen, "flowkit_training_ended"), "watcher")
    with pytest.raises(fk.TrainingInterrupted) as caught:
        builder(manager).build().fit(tmp_path / "run")
    (ended,) = [context for name, context in seen if name == "flowkit_training_ended"]
    assert ended.error is caught.value
    assert (ended.step, ended.steps) == (4, 6)


def test_watching_changes_no_bit_of_a_run(manager, tmp_path):
    plain = builder(PluginManager.discover({})).build().fit(tmp_path / "plain")
    manager.add(watching([]), "watcher")
    watched = builder(manager).build().fit(tmp_path / "watched")
    assert torch.equal(weights(plain), weights(watched))


@pytest.mark.parametrize("error", [ValueError("no luck"), SystemExit(3), StopIteration(), fk.TrainingError("mine")])
def test_a_hook_that_raises_harms_neither_the_run_nor_another_plugin(error, manager, tmp_path, caplog):
    plain = builder(PluginManager.discover({})).build().fit(tmp_path / "plain")
    before, after = [], []
    manager.add(watching(before), "first")
    manager.add(failing(error), "flowkit-unlucky:main", "flowkit-unlucky", "0.3")
    manager.add(watching(after), "last")
    pipeline = builder(manager).build().fit(tmp_path / "run")
    assert torch.equal(pipeline.sample(8), plain.sample(8))
    assert torch.equal(weights(pipeline), weights(plain))
    assert len(before) == len(after) == 13
    text = f"plugin flowkit-unlucky:main 0.3: flowkit_training_started raised {type(error).__name__}: {error}"
    assert text in caplog.text


def test_a_failing_step_hook_is_reported_once_with_its_traceback_within_reach(manager, tmp_path, caplog):
    manager.add(failing(ValueError("no luck"), "flowkit_step_ended"), "unlucky", version="0.3")
    with caplog.at_level(logging.DEBUG, "flowkit.plugins"):
        builder(manager).build().fit(tmp_path / "run")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["flowkit.plugins"]
    (failure,) = manager.hook_failures
    assert (failure.plugin, failure.version, failure.times) == ("unlucky", "0.3", 6)
    assert "raise error\nValueError: no luck" in failure.traceback
    assert failure.traceback in caplog.text


def test_strict_mode_stops_at_the_first_failure(tmp_path):
    manager = PluginManager.discover({"FLOWKIT_STRICT_PLUGINS": "1"})
    seen = []
    manager.add(watching(seen), "watcher")
    manager.add(failing(ValueError("no luck"), "flowkit_step_ended"), "unlucky", version="0.3")
    pipeline = builder(manager).build()
    with pytest.raises(fk.PluginError, match=r"unlucky 0\.3: flowkit_step_ended raised ValueError: no luck") as caught:
        pipeline.fit(tmp_path / "run")
    assert isinstance(caught.value.__cause__, ValueError)
    assert seen[-1][1].error is caught.value


def test_strict_mode_names_the_plugin_that_failed_also_through_the_wrapper_of_another():
    manager, seen = PluginManager({"FLOWKIT_STRICT_PLUGINS": "1"}), []

    def around(context):
        try:
            return (yield)
        finally:
            seen.append(context.step)

    manager.add(implementing(flowkit_step_ended=(around, {"wrapper": True})), "wrapper")
    manager.add(failing(ValueError("no luck"), "flowkit_step_ended"), "unlucky")
    with pytest.raises(fk.PluginError, match="plugin unlucky 0"):
        tell(manager, step(1))
    assert seen == [1]


@pytest.mark.parametrize("strict", ["0", "1"])
def test_ctrl_c_passes_through_hooks_and_no_wrapper_keeps_it_back(strict):
    manager = PluginManager({"FLOWKIT_STRICT_PLUGINS": strict})

    def around(context):
        try:
            yield
        except KeyboardInterrupt:
            return

    manager.add(implementing(flowkit_step_ended=(around, {"wrapper": True})), "wrapper")
    manager.add(failing(KeyboardInterrupt(), "flowkit_step_ended"), "main")
    with pytest.raises(KeyboardInterrupt):
        tell(manager, step(1))
    assert not manager.hook_failures


def step(number):
    return StepEnded(model=None, step=number, steps=9, loss=torch.tensor(1.0), learning_rate=0.1, is_main_process=True)


def noting(seen, name, **options):
    return implementing(flowkit_step_ended=(lambda context: seen.append(name), options))


def wrapping(seen, name, **options):
    def around(context):
        seen.append(f"{name} before")
        result = yield
        seen.append(f"{name} after")
        return result

    return implementing(flowkit_step_ended=(around, {"wrapper": True, **options}))


def test_order_is_pluggys_tryfirst_then_last_registered_first_then_trylast_within_wrappers():
    manager, seen = PluginManager({}), []
    manager.add(noting(seen, "late", trylast=True), "a")
    manager.add(noting(seen, "early", tryfirst=True), "b")
    manager.add(noting(seen, "one"), "c")
    manager.add(noting(seen, "two"), "d")
    manager.add(wrapping(seen, "inner"), "e")
    manager.add(wrapping(seen, "outer", tryfirst=True), "f")
    tell(manager, step(1))
    assert seen == ["outer before", "inner before", "early", "two", "one", "late", "inner after", "outer after"]


def breaks_before(context):
    raise ValueError("before")
    yield


def breaks_after(context):
    yield
    raise ValueError("after")


def never_yields(context):
    if context is None:
        yield


def yields_twice(context):
    yield
    yield


@pytest.mark.parametrize("options", [{"wrapper": True}, {"hookwrapper": True}], ids=["wrapper", "hookwrapper"])
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (breaks_before, "ValueError: before"),
        (breaks_after, "ValueError: after"),
        (never_yields, "RuntimeError: did not yield"),
        (yields_twice, "RuntimeError: yielded twice"),
    ],
)
def test_a_wrapper_that_breaks_is_as_if_it_were_not_there(broken, message, options):
    manager, seen = PluginManager({}), []
    manager.add(noting(seen, "first"), "first")
    manager.add(wrapping(seen, "outer", tryfirst=True), "outer")
    manager.add(implementing(flowkit_step_ended=(broken, options)), "broken")
    manager.add(noting(seen, "last"), "last")
    tell(manager, step(1))
    tell(manager, step(2))
    assert seen == ["outer before", "last", "first", "outer after"] * 2
    assert [(failure.plugin, failure.error, failure.times) for failure in manager.hook_failures] == [
        ("broken", message, 2)
    ]


def test_a_hook_that_yields_and_is_no_wrapper_is_refused():
    record = PluginManager({}).add(implementing(flowkit_step_ended=breaks_after), "one:main", "one")
    assert record.status == "failed"
    assert "mark it hookimpl(wrapper=True)" in record.error


def test_a_hook_may_take_no_argument_and_must_not_take_another():
    manager, seen = PluginManager({}), []
    manager.add(implementing(flowkit_step_ended=lambda: seen.append("called")), "terse")
    tell(manager, step(1))
    assert seen == ["called"]
    record = manager.add(implementing(flowkit_step_ended=lambda loss: None), "wrong")
    assert record.status == "failed"
    assert "loss" in record.error


def test_an_object_with_methods_is_a_plugin_and_is_listed_with_its_hooks():
    class Tracker:
        def __init__(self):
            self.steps = []

        @hookimpl
        def flowkit_step_ended(self, context):
            self.steps.append(context.step)

    manager, tracker = PluginManager({}), Tracker()
    record = manager.add(tracker, "notebook")
    tell(manager, step(5))
    assert tracker.steps == [5]
    assert record.hooks == ("flowkit_step_ended",)


def test_the_hooks_of_a_plugin_that_did_not_load_or_is_switched_off_stay_silent():
    manager, seen = PluginManager({"FLOWKIT_DISABLE_PLUGINS": "off"}), []
    broken = noting(seen, "broken")
    broken.flowkit_components = hookimpl(lambda: ["not a component"])
    manager.add(broken, "broken")
    manager.add(noting(seen, "off"), "off")
    tell(manager, step(1))
    assert not seen


def test_the_step_hook_is_looked_up_once_and_nobody_listens_without_an_implementation(manager, tmp_path, monkeypatch):
    assert listener(manager, StepEnded) is None
    looked_up = []

    def counted(plugins, context):
        looked_up.append(context)
        return listener(plugins, StepEnded)

    monkeypatch.setattr("flowkit.training.hooks.listener", counted)
    monkeypatch.setattr("flowkit.training.hooks.StepEnded", None)  # making a context would raise
    builder(manager).build().fit(tmp_path / "run")
    assert len(looked_up) == 1


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.__name__)
def test_every_hook_is_typed_and_says_in_which_process_it_fires(context):
    spec = getattr(FlowkitHooks, context.hook)
    assert list(inspect.signature(spec).parameters) == ["self", "context"]
    assert typing.get_type_hints(spec)["context"] is context
    assert "process" in spec.__doc__
    assert "changed" in spec.__doc__
    assert context.__name__ in contexts.__all__
    for field in dataclasses.fields(context):
        assert f"{field.name}: " in context.__doc__, f"{context.__name__}.{field.name} is not described"
        assert field.kw_only


def test_a_context_that_grows_breaks_no_hook():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Grown(TrainingStarted):
        more: int = 1

    manager, seen = PluginManager({}), []
    manager.add(watching(seen, "flowkit_training_started"), "old")
    tell(manager, Grown(model=None, config={}, folder=None, step=0, steps=1, is_main_process=True))
    assert len(seen) == 1
