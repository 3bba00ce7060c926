"""Evaluation: what is compared with what, and the errors of the figures."""

import math

import pytest
import torch

import flowkit as fk


class MeanDifference(fk.Metric):
    """The distance of two means."""

    label = "mean difference"

    def measure(self, generated, real):
        return float((generated.z.mean(0) - real.z.mean(0)).norm())


class Normal(fk.DataSource):
    """As many draws of N(0, I) in the plane as anyone asks for."""

    spec = fk.DataSpec((2,))

    def draw(self, n, generator=None):
        return fk.Batch(torch.randn(n, 2, generator=generator))


def shifted(shift):
    def draw(n, seed, y):
        return fk.Batch(torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + shift)

    return draw


def test_a_perfect_model_reaches_the_floor_within_the_errors():
    (result,) = fk.evaluate(shifted(0), Normal(), [MeanDifference()], samples=50, repeats=400)
    # The mean difference of two means of 50 draws is Rayleigh distributed with sigma^2 = 2 / 50.
    expected = math.sqrt(2 / 50) * math.sqrt(math.pi / 2)
    assert abs(result.value - expected) < 4 * result.value_error
    assert abs(result.floor - expected) < 4 * result.floor_error
    assert abs(result.ratio - 1) < 4 * result.ratio_error


def test_the_errors_are_the_spread_of_repeated_evaluations():
    runs = [fk.evaluate(shifted(0.3), Normal(), [MeanDifference()], 50, 20, seed)[0] for seed in range(200)]
    for name in ("value", "floor", "ratio"):
        seen = torch.tensor([getattr(run, name) for run in runs]).std()
        claimed = torch.tensor([getattr(run, f"{name}_error") for run in runs]).square().mean().sqrt()
        # A standard deviation of 200 is known to 1 / sqrt(400) = 5%; that of 20, averaged, to less.
        assert float(seen / claimed) == pytest.approx(1, abs=0.2), name


def test_one_draw_has_no_error():
    (result,) = fk.evaluate(shifted(0), Normal(), [MeanDifference()], samples=50, repeats=1)
    assert math.isnan(result.value_error)
    assert math.isnan(result.ratio_error)


def test_the_two_draws_of_a_finite_set_are_disjoint():
    class Overlap(fk.Metric):
        label = "shared points"

        def measure(self, generated, real):
            return float(torch.isin(generated.z, real.z).sum())

    data = fk.InMemory(torch.arange(11.0)[:, None])
    (result,) = fk.evaluate(lambda n, *_: fk.Batch(torch.full((n, 1), -1.0)), data, [Overlap()], samples=50, repeats=3)
    assert result.samples == 5
    assert result.floor == 0


class Seldom(fk.InMemory):
    """One label in ten is 1, and its points are far away."""

    def __init__(self):
        y = (torch.arange(1000) % 10 == 0).long()
        super().__init__(torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)) + 50 * y[:, None], y)


class Mean(fk.Metric):
    label = "mean"

    def measure(self, generated, real):
        return float((generated.z.mean() - real.z.mean()).abs())


def test_conditional_samples_are_asked_for_with_the_labels_of_the_data():
    """A perfect conditional model is then at the floor. With the labels in turn its mean would be 25, not 5."""
    data, asked = Seldom(), []

    def draw(n, seed, y):
        asked.append(y)
        return fk.Batch(torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + 50 * y[:, None], y)

    (result,) = fk.evaluate(draw, data, [Mean()], samples=400, repeats=20)
    # A mean over 400 points has the deviation sqrt(50^2 * 0.09 + 1 / 2) / 20 = 0.75, a difference of two 1.06.
    assert result.value < 2
    assert torch.cat(asked).float().mean().item() == pytest.approx(0.1, abs=5 * (0.09 / 8000) ** 0.5)
