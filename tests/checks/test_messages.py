"""One mistake is reported once, and in the words of its author."""

import pytest
import torch

import flowkit as fk
from flowkit.testing import check_coupling, check_data, check_path, check_source, parametrize_with_checks


class Dropping(fk.Coupling):
    """Loses the last pair."""

    def pair(self, x0, z, y=None, generator=None):
        return x0[:-1], z[:-1], fk.select_condition(y, slice(-1))


class Forgetful(fk.DataSource):
    """Does not pass its generator on."""

    spec = fk.DataSpec((2,))

    def draw(self, n, generator=None):
        return fk.Batch(torch.randn(n, 2))


@parametrize_with_checks([fk.create("network", "mlp", width=8, depth=1, event_shape=(2,), outputs=2)])
def test_a_network_for_two_outputs_passes(component, check):
    check(component)


def test_a_coupling_that_drops_points_is_told_how_many():
    with pytest.raises(AssertionError) as report:
        check_coupling(Dropping())
    assert "12 x0 are given, and 11 come back" in str(report.value)
    assert "RuntimeError" not in str(report.value)


def test_data_that_forget_their_generator_are_not_told_to_copy():
    with pytest.raises(AssertionError) as report:
        check_data(Forgetful())
    assert "draw from the generator that is passed in" in str(report.value)
    assert "keeps_its_points_to_itself" not in str(report.value)


class Circle(fk.Path):
    """x_t is on the unit circle, at the angle t a_z + (1 - t) a_0."""

    def compatible_data(self, z):
        return None if torch.allclose(z.norm(dim=1), torch.ones(len(z)).to(z)) else "its points are of norm 1"

    def sample(self, x0, z, t, generator=None):
        a = t * self._angle(z) + (1 - t) * self._angle(x0)
        return torch.stack([a.cos(), a.sin()], dim=1)

    def velocity(self, x, x0, z, t):
        return (self._angle(z) - self._angle(x0))[:, None] * torch.stack([-x[:, 1], x[:, 0]], dim=1)

    def _angle(self, x):
        return torch.atan2(x[:, 1], x[:, 0])


def test_a_path_of_other_states_than_vectors_is_not_held_to_what_it_does_with_vectors():
    report = check_path(Circle())
    reasons = {outcome.check.name: str(outcome) for outcome in report.of("not applicable")}
    for name in ("ends_at_the_data", "velocity_is_the_time_derivative_of_the_flow", "does_not_depend_on_the_batch"):
        assert "checked at points of N(0, I), and its points are of norm 1" in reasons[name]
    assert "has_a_docstring" in {outcome.check.name for outcome in report.of("passed")}


class Masked(fk.Source):
    """Every draw is the mask: 1 in the last place."""

    def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
        x0 = torch.zeros((n, *event_shape), device=device, dtype=dtype)
        x0[:, -1] = 1
        return x0


def test_a_source_of_one_point_is_not_told_to_draw():
    report = check_source(Masked())
    names = {outcome.check.name for outcome in report.of("not applicable")}
    assert {"draws_follow_the_generator", "draws_are_independent"} <= names
