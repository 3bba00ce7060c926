"""Every mathematical check sees the component that is wrong in its way."""

import re

import pytest
from checks.mutants_maths import MUTANTS, SLIPS

from flowkit.plugins.manager import installed_plugins
from flowkit.plugins.registry import resolve_target
from flowkit.testing import Subject
from flowkit.testing.reference import ReferencePath, ReferenceSchedule
from flowkit.testing.run import run_check

REGISTRY = installed_plugins().registry
CHECKS = {kind: {check.name: check for check in resolve_target(REGISTRY.kinds[kind].checks)} for kind in MUTANTS}
CASES = [(kind, name) for kind, checks in CHECKS.items() for name in checks]


@pytest.mark.parametrize("kind", MUTANTS)
def test_every_check_has_a_mutant(kind):
    assert list(MUTANTS[kind]) == list(CHECKS[kind])


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}-{name}" for kind, name in CASES])
def test_a_check_sees_what_it_is_about(kind, name):
    """It fails for what it has seen, not because something broke down."""
    outcome = run_check(CHECKS[kind][name], Subject(kind, MUTANTS[kind][name], REGISTRY), kind)
    assert outcome.status == "failed", outcome
    assert not re.match(r"\w+Error: ", outcome.message), outcome
    assert CHECKS[kind][name].hint
    assert CHECKS[kind][name].claim.endswith(".")


@pytest.mark.parametrize(("kind", "component"), SLIPS.values(), ids=SLIPS)
def test_a_slip_that_others_have_made_is_seen(kind, component):
    outcomes = [run_check(check, Subject(kind, component, REGISTRY), kind) for check in CHECKS[kind].values()]
    assert any(outcome.status == "failed" for outcome in outcomes)


@pytest.mark.parametrize(("kind", "component"), [("schedule", ReferenceSchedule()), ("path", ReferencePath())])
def test_the_parts_that_checks_rest_on_pass_them(kind, component):
    for check in CHECKS[kind].values():
        assert run_check(check, Subject(kind, component, REGISTRY), kind).status != "failed", check.name
