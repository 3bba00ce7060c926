"""Every check of data, sources, networks, fields, guidance, metrics, callbacks and manners sees what it is about."""

import importlib
import math
import re

import pytest
import torch
from checks.mutants_network import Normed

from flowkit import Source
from flowkit.plugins.manager import installed_plugins
from flowkit.testing import Subject, check_source
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


class Uniform(Source):
    """Uniform on [-1, 1]: Stein's identity does not hold where a density ends."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        return 2 * torch.rand((n, *event_shape), generator=generator, device=device, dtype=dtype) - 1

    def log_prob(self, x):
        x = x.flatten(1)
        return torch.where(x.abs().amax(1) <= 1, -x.shape[1] * math.log(2) + 0 * x.sum(1), -math.inf)


class Cauchy(Source):
    """Heavy tails, without mean and variance."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        x = torch.rand((n, *event_shape), generator=generator, device=device, dtype=torch.float64)
        return torch.tan(math.pi * (x - 0.5)).to(dtype)

    def log_prob(self, x):
        return -(math.pi * (1 + x.square())).log().flatten(1).sum(1)


class Student(Source):
    """t with 3 degrees of freedom, off the origin."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        x = torch.randn((4, n, *event_shape), generator=generator, device=device, dtype=torch.float64)
        return (5 + x[0] / (x[1:].square().mean(0)).sqrt()).to(dtype)

    def log_prob(self, x):
        return torch.distributions.StudentT(3.0, 5.0).log_prob(x).flatten(1).sum(1)


@pytest.mark.parametrize("source", [Uniform(), Cauchy(), Student()], ids=lambda source: type(source).__name__)
@pytest.mark.parametrize("event_shape", [(1,), (2,), (1, 4, 4)], ids=str)
def test_right_sources_of_other_shapes_pass(source, event_shape):
    check_source(source, event_shape=event_shape)
