"""Runs the checks of a kind on a component."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import did_you_mean
from ..plugins.manager import PluginManager, installed_plugins
from ..plugins.registry import Registry, resolve_target
from .check import Check, NotApplicable, Subject
from .report import Outcome, Report

__all__ = ["check_component", "checks_of", "run_check", "run_checks"]

_MANNERS = "flowkit.testing.manners:CHECKS"
"""What is asked of every component, whatever its kind."""


def checks_of(kind: str, registry: Registry) -> list[Check]:
    """The checks of a kind: its mathematics, then the manners that every component needs."""
    own = registry.kinds[kind].checks
    return [*(resolve_target(own) if own else ()), *resolve_target(_MANNERS)]


def run_check(check: Check, subject: Subject, label: str) -> Outcome:
    """Run one check on a copy of the component."""
    private = Subject(
        subject.kind, copy.deepcopy(subject.component), subject.registry, subject.event_shape, subject.num_classes
    )
    try:
        with torch.random.fork_rng(devices=[]):
            check(private)
    except NotApplicable as reason:
        return Outcome(label, check, "not applicable", str(reason))
    except AssertionError as failure:
        return Outcome(label, check, "failed", str(failure))
    except Exception as error:  # the component broke down in the middle of the check
        return Outcome(label, check, "failed", f"{type(error).__name__}: {error}")
    return Outcome(label, check, "passed")


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
    for name in expected.keys() - {check.name for check in checks}:
        known = [check.name for check in checks]
        raise ValueError(f"expected_failures: {subject.kind} has no check {name!r}{did_you_mean(name, known)}")
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
    registry = (plugins or installed_plugins()).registry
    kind = kind or _kind_of(component, registry)
    subject = Subject(kind, component, registry, event_shape, num_classes)
    report = run_checks(subject, f"{kind} {type(component).__name__}", expected_failures)
    report.raise_failures()
    return report


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
