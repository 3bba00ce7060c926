"""Runs the checks of a kind on a component."""

import contextlib
import random
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import did_you_mean
from ..plugins.manager import PluginManager, installed_plugins
from ..plugins.registry import Registry, resolve_target
from .check import Check, NotApplicable, NotChecked, Subject
from .report import Outcome, Report

__all__ = ["check_component", "checks_of", "run_check", "run_checks", "subject_of", "verify_expected"]

_MANNERS = "flowkit.testing.manners:CHECKS"
"""What is asked of every component, whatever its kind."""


def checks_of(kind: str, registry: Registry) -> list[Check]:
    """The checks of a kind: its mathematics, then the manners that every component needs."""
    own = registry.kinds[kind].checks
    return [*(resolve_target(own) if own else ()), *resolve_target(_MANNERS)]


def run_check(check: Check, subject: Subject, label: str) -> Outcome:
    """Run one check on a copy of the component."""
    try:
        with _random_state_restored():
            remark = check(subject.copy())
    except NotApplicable as reason:
        return Outcome(label, check, "not applicable", str(reason))
    except NotChecked as reason:
        return Outcome(label, check, "not checked", str(reason))
    except AssertionError as failure:
        return Outcome(label, check, "failed", str(failure) or f"an assertion failed{_where(failure, subject)}")
    except Exception as error:  # the component broke down in the middle of the check
        return Outcome(label, check, "failed", f"{type(error).__name__}: {error}{_where(error, subject)}")
    return Outcome(label, check, "passed", remark or "")


def run_checks(subject: Subject, label: str, expected_failures: Mapping[str, str] | None = None) -> Report:
    """Run every check of the component's kind.

    Arguments:
        subject: What is checked.
        label: What the report calls it.
        expected_failures: Check name to the reason why it may fail.

    Raises:
        ValueError: An expected failure names no check.
    """
    expected = dict(expected_failures or {})
    checks = checks_of(subject.kind, subject.registry)
    verify_expected(expected, checks, subject.kind)
    outcomes = [run_check(check, subject, label) for check in checks]
    return Report([_as_expected(outcome, expected) for outcome in outcomes])


def check_component(
    component: Any,
    kind: str | None = None,
    *,
    event_shape: tuple[int, ...] = (2,),
    num_classes: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
    plugins: PluginManager | None = None,
) -> Report:
    """Check one object against everything that its kind promises.

    Arguments:
        component: The object, made the way its users make it.
        kind: Its kind; found from its class where left out.
        event_shape: The shape of one data point that it is for.
        num_classes: How many classes it is for; None without labels.
        expected_failures: Check name to the reason why it may fail.
        plugins: Where the parts come from that a check needs beside this one; the installed plugins by default.

    Raises:
        AssertionError: With every check that failed, what was seen, and a hint.
    """
    subject = subject_of(component, kind, event_shape, num_classes, plugins)
    report = run_checks(subject, f"{subject.kind} {type(component).__name__}", expected_failures)
    report.raise_failures()
    return report


def subject_of(
    component: Any,
    kind: str | None,
    event_shape: tuple[int, ...],
    num_classes: int | None,
    plugins: PluginManager | None,
) -> Subject:
    """An object in its surroundings; see `check_component`."""
    registry = (plugins or installed_plugins()).registry
    return Subject(kind or _kind_of(component, registry), component, registry, event_shape, num_classes)


def verify_expected(expected: Mapping[str, str], checks: list[Check], kind: str) -> None:
    """Refuse an expected failure of a check that there is none of."""
    known = [check.name for check in checks]
    for name in expected:
        if name not in known:
            raise ValueError(f"expected_failures: {kind} has no check {name!r}{did_you_mean(name, known)}")


@contextlib.contextmanager
def _random_state_restored() -> Iterator[None]:
    """Leaves the global random states of whoever runs the checks as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _where(error: BaseException, subject: Subject) -> str:
    """The line of the component's own module that was last reached, if there was one."""
    own = getattr(sys.modules.get(type(subject.component).__module__), "__file__", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" (line {lines[-1].lineno} of {own}, in {lines[-1].name})" if lines else ""


def _as_expected(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    reason = expected.get(outcome.check.name)
    if reason is None or outcome.status == "not applicable":
        return outcome
    if outcome.status == "failed":
        return Outcome(outcome.component, outcome.check, "expected", reason)
    return Outcome(outcome.component, outcome.check, "failed", f"was expected to fail ({reason}), and passes")


def _kind_of(component: Any, registry: Registry) -> str:
    # A network may be any module, so whatever is something else beside that counts as the other.
    for kind in sorted(registry.kinds.values(), key=lambda kind: kind.name == "network"):
        if isinstance(component, resolve_target(kind.interface)):
            return kind.name
    raise TypeError(f"{type(component).__name__} is of no kind that flowkit knows: {', '.join(registry.kinds)}")
