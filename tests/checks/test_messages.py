"""One mistake is reported once, and in the words of its author."""

import pytest
import torch

import flowkit as fk
from flowkit.testing import check_coupling, check_data, parametrize_with_checks


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
