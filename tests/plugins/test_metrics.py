"""The metrics measure what they say."""

import math

import ot
import pytest
import scipy.optimize
import torch
from flowkit_data.digits import Digits
from flowkit_data.eight_gaussians import EightGaussians
from flowkit_metrics.label_agreement import LabelAgreement
from flowkit_metrics.nearest_neighbour import NearestNeighbour
from flowkit_metrics.wasserstein import Wasserstein

from flowkit import Batch, FlowkitWarning, UnsupportedError


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def halves():
    digits = Digits()
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    return digits.take(order[:900]), digits.take(order[900:])


def test_wasserstein_of_sorted_numbers_is_the_distance_of_the_quantiles():
    x, z = normal(200, 1), 2 * normal(200, 1, seed=1) + 1
    expected = (x.sort(0).values - z.sort(0).values).double().square().mean().sqrt()
    assert Wasserstein().measure(Batch(x), Batch(z)) == pytest.approx(float(expected), rel=1e-6)


def test_wasserstein_of_unequal_sizes_matches_the_repeated_sample():
    """Points repeated k times are points of k times the weight: both solvers must agree."""
    x, z = normal(40, 3), normal(80, 3, seed=1)
    unequal = Wasserstein().measure(Batch(x), Batch(z))
    assert unequal == pytest.approx(Wasserstein().measure(Batch(x.repeat(2, 1)), Batch(z)), rel=1e-9)


def test_wasserstein_of_a_translation_is_its_length():
    x = normal(100, 2, 3).double()
    by = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    assert Wasserstein().measure(Batch(x), Batch(x + by)) == pytest.approx(float(by.norm()), rel=1e-12)


def test_samples_that_are_far_off_are_matched_as_soon_as_good_ones(monkeypatch):
    solved = []

    def solve(cost):
        solved.append(torch.as_tensor(cost))
        return scipy_solve(cost)

    scipy_solve = scipy.optimize.linear_sum_assignment
    monkeypatch.setattr(scipy.optimize, "linear_sum_assignment", solve)
    x, z = torch.randn(2, 50, 3, dtype=torch.float64)
    for away in (x, x + 100, 0.01 * x + 3):
        expected = ot.emd2([], [], torch.cdist(away, z).square().numpy()) ** 0.5
        assert Wasserstein().measure(Batch(away), Batch(z)) == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(solved[1], solved[0]), "SciPy takes ten times as long where all of x is off"
    assert torch.allclose(solved[2], solved[0]), "and where x has collapsed"


def test_samples_that_are_all_one_point_are_as_far_away_as_the_data_are():
    z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert Wasserstein().measure(Batch(torch.ones(2, 2)), Batch(z)) == pytest.approx(1)
    assert Wasserstein().measure(Batch(z), Batch(torch.ones(2, 2))) == pytest.approx(1)


def test_a_wide_feature_hides_the_others_unless_they_are_standardized(recwarn):
    """A warning says so. Standardised, the distance is that of the data in any units."""
    z, dead, units = normal(200, 3).double(), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1e3, 0.0])
    plain, standardized = Wasserstein(), Wasserstein(standardize=True)
    unit = (z / z.std(0, correction=0))[:, :2]
    expected = plain.measure(Batch(unit * dead[:2]), Batch(unit))
    assert expected > 0.5
    assert standardized.measure(Batch(z * dead * units), Batch(z * units)) == pytest.approx(expected)
    assert not recwarn
    with pytest.warns(FlowkitWarning, match="little but the widest of the features"):
        assert plain.measure(Batch(z * dead * units), Batch(z * units)) < 0.002 * units.max()
    assert standardized.label == "2-Wasserstein, standardised"


def test_wasserstein_is_symmetric_and_zero_on_itself_in_any_order():
    x, z = normal(60, 2), normal(60, 2, seed=1)
    metric = Wasserstein()
    assert metric.measure(Batch(x), Batch(z)) == pytest.approx(metric.measure(Batch(z), Batch(x)), rel=1e-12)
    assert metric.measure(Batch(x), Batch(x.flip(0))) == 0
    assert metric.measure(Batch(x), Batch(x.repeat(2, 1))) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("metric", [Wasserstein(), NearestNeighbour()])
def test_a_distance_of_samples_that_are_not_finite_is_nan(metric):
    x = normal(10, 2)
    x[3, 1] = math.nan
    assert math.isnan(metric.measure(Batch(x), Batch(normal(10, 2))))


def test_label_agreement_is_complete_where_classes_are_apart():
    batch = EightGaussians(noise=0.05, labels=True).draw(400, torch.Generator().manual_seed(0))
    assert LabelAgreement().measure(batch, batch) == 1


def test_label_agreement_of_unseen_digits_is_the_accuracy_of_the_classifier(halves):
    first, second = halves
    assert LabelAgreement().measure(second, first) > 0.96
    assert LabelAgreement().measure(first, first) > 0.97


def test_label_agreement_of_shuffled_labels_is_chance(halves):
    first, second = halves
    shuffled = second.y[torch.randperm(len(second.y), generator=torch.Generator().manual_seed(0))]
    standard_error = math.sqrt(0.1 * 0.9 / len(shuffled))
    assert abs(LabelAgreement().measure(Batch(second.z, shuffled), first) - 0.1) < 5 * standard_error


def test_samples_that_are_not_finite_agree_with_nothing(halves):
    first, _ = halves
    z = torch.full_like(first.z, math.nan)
    assert LabelAgreement().measure(Batch(z, first.y), first) == 0
    half = torch.cat([first.z[:450], z[450:]])
    assert LabelAgreement().measure(Batch(half, first.y), first) < 0.5


def test_label_agreement_needs_labels():
    metric = LabelAgreement()
    assert metric.problems(10) == []
    assert "labels" in metric.problems(None)[0]
    with pytest.raises(UnsupportedError, match="labels"):
        metric.measure(Batch(normal(5, 2)), Batch(normal(5, 2)))


def test_nearest_neighbour_is_0_for_copies_and_not_for_fresh_draws(halves):
    first, second = halves
    assert NearestNeighbour().measure(Batch(first.z[100:200]), first) == 0
    assert NearestNeighbour().measure(second, first) > 0.5


def test_nearest_neighbour_is_the_median_of_the_smallest_distances():
    real = torch.tensor([[0.0], [10.0]])
    generated = torch.tensor([[1.0], [8.0], [16.0]])  # 1, 2 and 6 away, 3 on average
    assert NearestNeighbour().measure(Batch(generated), Batch(real)) == 2


def test_nearest_neighbour_does_not_depend_on_the_chunks(monkeypatch):
    x, z = normal(100, 3), normal(70, 3, seed=1)
    whole = NearestNeighbour().measure(Batch(x), Batch(z))
    monkeypatch.setattr("flowkit_metrics.nearest_neighbour.CHUNK", 7)
    assert NearestNeighbour().measure(Batch(x), Batch(z)) == whole
