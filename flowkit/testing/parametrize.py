"""One pytest case for each check of each of an author's own objects."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from ..plugins.manager import PluginManager
from .check import Check, Subject
from .run import checks_of, run_check, subject_of, verify_expected

__all__ = ["parametrize_with_checks"]


def parametrize_with_checks(
    components: Sequence[Any],
    *,
    kind: str | None = None,
    event_shape: tuple[int, ...] = (2,),
    num_classes: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
    plugins: PluginManager | None = None,
) -> pytest.MarkDecorator:
    """Decorate a test that takes `component` and `check`, and calls `check(component)`.

    An expected failure is strict: the case is an xfail with its reason, and fails once the check passes.

    Arguments:
        components: The objects, made the way their users make them.
        kind: Their kind; found from their classes where left out.
        event_shape: The shape of one data point that they are for.
        num_classes: How many classes they are for; None without labels.
        expected_failures: Check name to the reason why it may fail.
        plugins: Where the parts come from that a check needs beside these; the installed plugins by default.

    Raises:
        ValueError: An expected failure names no check.

    Examples:
        >>> @parametrize_with_checks([SwirlPath(), SwirlPath(turns=2)])
        ... def test_swirl(component, check):
        ...     check(component)
    """
    expected = dict(expected_failures or {})
    cases = []
    for component in components:
        subject = subject_of(component, kind, event_shape, num_classes, plugins)
        checks = checks_of(subject.kind, subject.registry)
        verify_expected(expected, checks, subject.kind)
        for check in checks:
            reason = expected.get(check.name)
            marks = () if reason is None else pytest.mark.xfail(reason=reason, strict=True)
            name = f"{type(component).__name__}-{check.name}"
            cases.append(pytest.param(component, partial(_run, check, subject), marks=marks, id=name))
    return pytest.mark.parametrize(("component", "check"), cases)


def _run(check: Check, subject: Subject, component: Any) -> None:
    """Raise what came of it, in the words of pytest."""
    __tracebackhide__ = True
    own = Subject(subject.kind, component, subject.registry, subject.event_shape, subject.num_classes)
    outcome = run_check(check, own, f"{subject.kind} {type(component).__name__}")
    if outcome.status == "failed":
        pytest.fail(str(outcome), pytrace=False)
    if outcome.status != "passed":
        pytest.skip(f"{outcome.status}: {outcome.message}")
