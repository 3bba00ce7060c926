"""Every check of data, sources, networks, fields, guidance, metrics, callbacks and manners sees what it is about."""

import importlib
import re

import pytest
from checks.mutants_network import Normed

from flowkit.plugins.manager import installed_plugins
from flowkit.testing import Subject
from flowkit.testing.run import run_check, run_checks

REGISTRY = installed_plugins().registry
FAMILIES = ("data", "source", "network", "field", "guidance", "metric", "callback", "manners")
MUTANTS = {family: importlib.import_module(f"checks.mutants_{family}") for family in FAMILIES}
CHECKS = {
    family: {check.name: check for check in importlib.import_module(f"flowkit.testing.{family}").CHECKS}
    for family in FAMILIES
}
CASES = [(family, name) for family in FAMILIES for name in CHECKS[family]]


def subject(family, component):
    kind = "source" if family == "manners" else family
    return Subject(kind, component, REGISTRY, **getattr(MUTANTS[family], "SURROUNDINGS", {}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_check_has_a_mutant(family):
    assert list(MUTANTS[family].MUTANTS) == list(CHECKS[family])


@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{family}-{name}" for family, name in CASES])
def test_a_check_sees_what_it_is_about(family, name):
    """It fails for what it has seen, not because something broke down."""
    outcome = run_check(CHECKS[family][name], subject(family, MUTANTS[family].MUTANTS[name]), family)
    assert outcome.status == "failed", outcome
    assert not re.match(r"\w+Error: ", outcome.message) or name.startswith("follows_"), outcome
    assert CHECKS[family][name].hint
    assert CHECKS[family][name].claim.endswith(".")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_right_component_passes_and_every_check_applies_to_one(family):
    reports = [run_checks(subject(family, component), family) for component in MUTANTS[family].RIGHT]
    for report in reports:
        # What is right here is right in the mathematics; a field without settings is described by its tests.
        failed = [str(outcome) for outcome in report.failed if outcome.check.name in CHECKS[family]]
        assert not failed
    passed = {outcome.check.name for report in reports for outcome in report.of("passed")}
    assert CHECKS[family].keys() <= passed


def test_a_network_that_mixes_the_batch_in_training_alone_gets_a_remark():
    outcome = run_check(CHECKS["network"]["does_not_mix_the_batch"], subject("network", Normed()), "network")
    assert outcome.status == "passed"
    assert "in training, an output depends on the rest of the batch" in outcome.message
