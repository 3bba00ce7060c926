"""`training.compile: auto`: the choice by a scripted clock, and what training makes of it."""

import io
import json
import signal
import warnings
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import flowkit as fk
from flowkit.progress import ProgressBar
from flowkit.training import choice, stepping
from flowkit.training.choice import (
    COMPILED_WARM_UP,
    TIMED,
    TURN,
    WARM_UP,
    WORTH_COMPILING,
    Clock,
    Comparison,
    DeviceClock,
)
from flowkit.training.stepping import Stepping

EAGER = WARM_UP + TIMED
TURNS = ([False] * TURN + [True] * TURN) * (TIMED // TURN)
WAYS = [False] * EAGER + [True] * COMPILED_WARM_UP + TURNS
"""Which of the steps of a comparison are compiled."""
LAST = len(WAYS)
"""The step after which all is decided."""


class Script(Clock):
    """Every step takes what is written."""

    def __init__(self, laps: list[float]) -> None:
        self.laps, self.marks, self.reads = laps, count(), 0

    def now(self) -> int:
        return next(self.marks)

    def seconds(self, start: int, end: int) -> float:
        assert end == start + 1
        self.reads += 1
        return self.laps[start // 2]


def laps(eager: float, compiled: float) -> list[float]:
    """The steps of one comparison: slow at first, as they are."""
    turns = [compiled if way else eager for way in TURNS]
    return [9.0] * WARM_UP + [eager] * TIMED + [30.0] + [9.0] * (COMPILED_WARM_UP - 1) + turns


def compare(clock: Script, left: int, most: int = LAST) -> tuple[Comparison, list[bool]]:
    """Steps until something is chosen; which of them were compiled."""
    comparison, ways = Comparison(left, left, clock), []
    while comparison.choice is None and len(ways) < most:
        ways.append(comparison.compiled)
        comparison.begin()
        comparison.end()
    return comparison, ways


@pytest.mark.parametrize(("compiled", "chosen"), [(0.5, True), (0.99, True), (1.0, False), (1.5, False)])
def test_the_faster_by_the_median_is_chosen(compiled: float, chosen: bool) -> None:
    comparison, ways = compare(Script(laps(1.0, compiled)), 1000)
    assert ways == WAYS
    assert comparison.choice
    assert comparison.choice.compiled is comparison.compiled is chosen
    assert "(compiling took 30 s)" in comparison.choice.why
    assert "an eager one 1,000 ms" in comparison.choice.why
    assert comparison.choice.steps is None


def test_a_minority_of_slow_steps_changes_nothing() -> None:
    disturbed = laps(1.0, 0.9)
    compiled = [i for i, way in enumerate(WAYS) if way][COMPILED_WARM_UP:]
    for i in compiled[: TIMED // 2 - 1]:
        disturbed[i] = 100.0
    found, _ = compare(Script(disturbed), 1000)
    assert found.choice
    assert found.choice.compiled


def test_a_machine_that_becomes_busier_or_idler_slows_both_ways_alike() -> None:
    for pace, compiled, chosen in ((20.0, 0.9, True), (0.05, 1.1, False)):
        changed = laps(1.0, compiled)
        changed[EAGER:] = [pace * lap for lap in changed[EAGER:]]
        found, _ = compare(Script(changed), 1000)
        assert found.choice
        assert found.choice.compiled is chosen


@pytest.mark.parametrize(("spare", "tried"), [(0, True), (-1, False)])
def test_compiling_is_tried_from_the_seconds_on_that_it_can_win_back(spare: int, tried: bool) -> None:
    pace = WORTH_COMPILING / 100  # 100 steps after the timed ones are just worth it
    comparison, ways = compare(Script(laps(pace, pace)), EAGER + 100 + spare)
    assert any(ways) is tried
    if not tried:
        assert comparison.choice
        assert not comparison.choice.compiled
        assert "99 steps of 600 ms are left, 59 s in all" in comparison.choice.why
        assert comparison.choice.steps == EAGER + 99


def test_steps_to_warm_up_do_not_count_beside_a_minority_of_slow_ones() -> None:
    pace = WORTH_COMPILING / 1000
    disturbed = laps(pace, pace)
    disturbed[WARM_UP : WARM_UP + TIMED // 2 - 1] = [9.0] * (TIMED // 2 - 1)
    _, ways = compare(Script(disturbed), EAGER + 100)
    assert not any(ways)  # 100 steps of this pace are not worth it, 100 of 9 s would be


@pytest.mark.parametrize(("left", "timed"), [(LAST, False), (LAST + 1, True)])
def test_steps_are_timed_only_if_some_remain_that_gain_by_it(left: int, timed: bool) -> None:
    comparison, ways = compare(Script(laps(100.0, 1.0)), left)
    assert bool(ways) is timed
    assert comparison.choice
    assert comparison.choice.compiled is timed
    assert timed or f"{left} steps are left, too few" in comparison.choice.why


@pytest.mark.parametrize(("steps", "reads"), [(EAGER - 1, 0), (EAGER, EAGER), (LAST - 1, EAGER), (LAST, LAST)])
def test_the_clock_is_read_only_where_a_stretch_ends(steps: int, reads: int) -> None:
    clock = Script(laps(1.0, 1.0))
    compare(clock, 1000, steps)
    assert clock.reads == reads


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_clock_of_a_device_counts_work_that_it_was_given_and_has_not_done() -> None:
    clock, x = DeviceClock(), torch.randn(4096, 4096, device="cuda")
    points = [clock.now()]
    for products in (1, 20):
        for _ in range(products):
            x @ x
        points.append(clock.now())
    one, many = clock.seconds(points[0], points[1]), clock.seconds(points[1], points[2])
    assert one > 0
    assert many > 0.01  # 20 products of 2 * 4096^3 operations, at no more than 250 teraflops in float32


class Tiny(nn.Module, fk.Network):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, t: Tensor, y: fk.Condition = None) -> Tensor:
        return self.outer(torch.tanh(self.inner(torch.cat([x, t[:, None]], 1))))


class Unused(Tiny):
    """Has a weight that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(2))


class Watch(fk.Callback):
    """Notes what was decided, and sends a signal after one of the steps."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.seen = stop, {}

    def logged(self, state: fk.TrainingState) -> None:
        self.seen[state.step] = state.step_choice
        if state.step == self.stop:
            signal.raise_signal(signal.SIGINT)


def pipeline(network: type[Tiny] = Tiny, **training: Any) -> fk.Pipeline:
    torch.manual_seed(0)
    settings = {"steps": LAST + 10, "batch_size": 16, "checkpoint_every": 30, "log_every": 1, "decay": "none"}
    return (
        fk.Pipeline.builder()
        .data("moons")
        .path("gaussian")
        .network(network())
        .head("velocity")
        .loss("cfm")
        .training(**settings | {"compile": "auto"} | training)
        .build()
    )


def state_of(run: Path, step: int) -> dict[str, Any]:
    return json.loads((run / f"checkpoints/step-{step:08d}/state.json").read_text())


def same(one: fk.Pipeline, other: fk.Pipeline) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def script(monkeypatch: pytest.MonkeyPatch, eager: float, compiled: float) -> None:
    monkeypatch.setattr(stepping, "clock_of", lambda device: Script(laps(eager, compiled)))


def forbid_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device) -> Clock:
        raise AssertionError("it measures again")

    monkeypatch.setattr(stepping, "clock_of", refuse)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled step without its compiler: the same function, other draws than those of the eager step."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def test_a_run_that_is_too_short_is_the_eager_run_and_says_so(tmp_path: Path) -> None:
    text, watch = io.StringIO(), Watch()
    bar = ProgressBar(Console(file=text, width=200))
    with warnings.catch_warnings():
        warnings.simplefilter("error", fk.FlowkitWarning)
        found = pipeline().fit(tmp_path / "auto", callbacks=[watch, bar])
    assert same(found, pipeline(compile=False).fit(tmp_path / "eager"))
    assert text.getvalue().count("training.compile=auto chose eager steps: 75 steps of") == 1
    assert watch.seen[EAGER - 1] is None
    assert not watch.seen[EAGER].compiled
    lines = [json.loads(line) for line in (tmp_path / "auto/metrics.jsonl").read_text().splitlines()]
    said = [line for line in lines if "compiled" in line]
    assert [(line["step"], line["compiled"]) for line in said] == [(EAGER, False)]
    assert said[0]["compiled_because"] == watch.seen[EAGER].why


@pytest.mark.usefixtures("uncompiled")
def test_the_faster_step_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {}
    for compiled in (1.0, 3.0):
        script(monkeypatch, 2.0, compiled)
        watch = Watch()
        runs[compiled] = pipeline().fit(tmp_path / str(compiled), callbacks=[watch])
        assert watch.seen[LAST - 1] is None
        assert watch.seen[LAST].compiled is (compiled < 2.0)
        assert state_of(tmp_path / str(compiled), LAST + 10)["step_choice"]["compiled"] is (compiled < 2.0)
    assert not same(runs[1.0], runs[3.0])  # their last steps have other draws


def check_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: float) -> None:
    script(monkeypatch, 2.0, compiled)
    whole = pipeline().fit(tmp_path / "whole")
    script(monkeypatch, 2.0, compiled)
    with pytest.raises(fk.TrainingInterrupted):
        pipeline().fit(tmp_path / "halves", callbacks=[Watch(LAST + 4)])
    torch._dynamo.reset()
    forbid_timing(monkeypatch)
    watch, text = Watch(), io.StringIO()
    bar = ProgressBar(Console(file=text, width=200))
    assert same(pipeline().fit(tmp_path / "halves", resume=True, callbacks=[watch, bar]), whole)
    assert watch.seen[LAST + 5].compiled is (compiled < 2.0)
    assert "an eager one 2,000 ms" in text.getvalue()


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("compiled", [1.0, 3.0])
def test_a_resumed_run_goes_on_as_decided_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: float
) -> None:
    check_resumption(tmp_path, monkeypatch, compiled)


@pytest.mark.slow
def test_a_resumed_run_goes_on_to_the_bit_with_the_compiler_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    check_resumption(tmp_path, monkeypatch, 1.0)


@pytest.mark.usefixtures("uncompiled")
def test_a_checkpoint_from_before_the_decision_resumes_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, 2.0, 1.0)
    with pytest.raises(fk.TrainingInterrupted):
        pipeline(steps=2 * LAST + 10).fit(tmp_path / "run", callbacks=[Watch(EAGER + 5)])
    assert "step_choice" not in state_of(tmp_path / "run", EAGER + 5)
    script(monkeypatch, 2.0, 1.0)
    watch = Watch()
    pipeline(steps=2 * LAST + 10).fit(tmp_path / "run", resume=True, callbacks=[watch])
    assert next(step for step, chosen in watch.seen.items() if chosen) == EAGER + 5 + LAST


def test_a_run_that_was_too_short_decides_anew_when_it_is_given_more_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline().fit(tmp_path / "run")
    script(monkeypatch, 1e-3, 1e-3)
    watch = Watch()
    pipeline(steps=2 * LAST + 20).fit(tmp_path / "run", resume=True, callbacks=[watch])
    assert watch.seen[LAST + 11] is None
    assert "steps of 1 ms are left" in watch.seen[LAST + 10 + EAGER].why


def test_what_true_refuses_leaves_auto_with_the_eager_step(tmp_path: Path) -> None:
    watch, reason = Watch(), r"training.accumulate = 1"
    pipeline(steps=3, accumulate=2).fit(tmp_path / "run", callbacks=[watch])
    assert not watch.seen[1].compiled
    assert reason in watch.seen[1].why
    assert "step_choice" not in state_of(tmp_path / "run", 3)  # elsewhere it may be otherwise
    with pytest.raises(fk.ConfigError, match=reason):
        pipeline(compile=True, accumulate=2).fit(tmp_path / "other")


def test_without_a_compiler_auto_stays_eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    watch = Watch()
    pipeline(steps=3).fit(tmp_path / "run", callbacks=[watch])
    assert watch.seen[3].why.startswith("compiling needs a C++ compiler, and there is none")


def test_a_step_that_cannot_be_compiled_is_taken_eagerly_after_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(function: Any, **_: Any) -> Any:
        raise RuntimeError("no luck")

    monkeypatch.setattr(torch, "compile", fail)
    script(monkeypatch, 2.0, 1.0)
    watch = Watch()
    with pytest.warns(fk.FlowkitWarning, match="cannot be compiled and runs as it is: RuntimeError: no luck") as told:
        found = pipeline().fit(tmp_path / "run", callbacks=[watch])
    assert len([warning for warning in told if warning.category is fk.FlowkitWarning]) == 1
    assert watch.seen[EAGER] is None
    assert watch.seen[EAGER + 1].why == "this step cannot be compiled"
    assert same(found, pipeline(compile=False).fit(tmp_path / "eager"))
    forbid_timing(monkeypatch)
    pipeline(steps=LAST + 12).fit(tmp_path / "run", resume=True)


@pytest.mark.usefixtures("uncompiled")
def test_weights_without_a_gradient_are_not_compiled_after_eager_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager steps do not count for them, and compiled ones correct the bias of all weights by one count."""
    script(monkeypatch, 2.0, 1.0)
    with pytest.warns(fk.FlowkitWarning, match="weights without a gradient, and AdamW counts fewer for these"):
        found = pipeline(Unused).fit(tmp_path / "run")
    assert same(found, pipeline(Unused, compile=False).fit(tmp_path / "eager"))


def test_every_step_is_taken_once_in_its_order() -> None:
    taken: list[tuple[str, float]] = []

    def eager(x0: Tensor, z: Tensor, y: fk.Condition) -> Tensor:
        taken.append(("eager", float(x0)))
        return x0

    class Compiled:
        has_run = True

        def __call__(self, x0: Tensor, z: Tensor, y: fk.Condition, rate: float, weight: float) -> Tensor:
            taken.append(("compiled", float(x0)))
            return x0

    steps, way = LAST + 5, Stepping("auto", "", LAST + 5, torch.device("cpu"), eager, Compiled)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as monkeypatch:
        script(monkeypatch, 2.0, 3.0)
        for step in range(steps):
            assert way(steps - step, torch.tensor(float(step)), torch.zeros(1), None, 0.1, 0.1) == step
    ways = [*WAYS, *[False] * 5]
    assert taken == list(zip(["compiled" if way else "eager" for way in ways], map(float, range(steps)), strict=True))


def test_other_words_are_refused_in_one_line() -> None:
    with pytest.raises(fk.ConfigError) as refused:
        pipeline(compile="maybe")
    assert str(refused.value) == "training.compile: should be False, True or 'auto'; got 'maybe'"


def test_the_schema_names_what_is_allowed() -> None:
    setting = fk.json_schema()["properties"]["training"]["properties"]["compile"]
    assert setting["enum"] == [False, True, "auto"]
    assert setting["default"] is False


def test_choices_read_as_sentences() -> None:
    assert str(choice.StepChoice(True, "faster")) == "compiled steps: faster"
