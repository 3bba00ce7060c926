"""The toys of the plane draw from the distributions that their docstrings state."""

import math

import pytest
import torch
from flowkit_data.checkerboard import Checkerboard
from flowkit_data.circles import Circles
from flowkit_data.eight_gaussians import EightGaussians
from flowkit_data.moons import Moons
from flowkit_data.pinwheel import Pinwheel
from flowkit_data.spirals import Spirals
from sklearn.datasets import make_moons

TOYS = [Moons, Checkerboard, EightGaussians, Spirals, Pinwheel, Circles]
N = 20_000

# Closed forms of the docstrings, with the default noise: the mean, and the mean variance of the coordinates.
MOMENTS = {
    Moons: ((0.5, 0.25), (3 / 4 + 9 / 16 - 1 / math.pi) / 2 + 0.05**2),
    Checkerboard: ((0.0, 0.0), 4 / 3),
    EightGaussians: ((0.0, 0.0), 1 + 0.1**2),
    Spirals: ((0.0, 0.0), 1 + 0.05**2),
    Pinwheel: ((0.0, 0.0), 1.09 + 0.1**2),
    Circles: ((0.0, 0.0), 5 / 4 + 0.05**2),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("toy", TOYS)
def test_a_draw_is_finite_and_has_the_shape_of_the_spec(toy):
    z, y = toy().draw(100, seeded())
    assert z.shape == (100, *toy().spec.event_shape)
    assert z.dtype == torch.float32
    assert z.isfinite().all()
    assert y is None


@pytest.mark.parametrize("toy", TOYS)
def test_the_same_generator_gives_the_same_draw_and_the_global_one_is_untouched(toy):
    before = torch.get_rng_state()
    first, again, other = (toy().draw(50, seeded(seed)).z for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("toy", TOYS)
def test_labels_are_asked_for_and_do_not_change_the_points(toy):
    assert toy().spec.num_classes is None
    labelled = toy(labels=True)
    z, y = labelled.draw(N, seeded())
    assert torch.equal(z, toy().draw(N, seeded()).z)
    assert labelled.spec.num_classes == len(labelled.spec.class_names)
    assert y.dtype == torch.int64
    assert y.max() == labelled.spec.num_classes - 1


@pytest.mark.parametrize("toy", TOYS)
def test_the_classes_are_equally_likely(toy):
    labelled = toy(labels=True)
    p = 1 / labelled.spec.num_classes
    share = labelled.draw(N, seeded()).y.bincount() / N
    assert (share - p).abs().max() < 5 * math.sqrt(p * (1 - p) / N)  # five standard errors of a share


@pytest.mark.parametrize("toy", TOYS)
def test_mean_and_variance_are_those_of_the_docstring(toy):
    mean, variance = MOMENTS[toy]
    centred = toy().draw(N, seeded()).z.double() - torch.tensor(mean)
    standard_error = centred.std(0) / math.sqrt(N)
    assert (centred.mean(0).abs() < 5 * standard_error).all()
    squares = centred.square().mean(1)
    assert abs(squares.mean() - variance) < 5 * squares.std() / math.sqrt(N)


@pytest.mark.parametrize("toy", TOYS)
def test_the_model_sees_mean_0_and_about_unit_variance(toy):
    seen = toy().normalization.normalize(toy().draw(N, seeded()).z)
    assert seen.mean(0).abs().max() < 0.05
    assert 0.9 < seen.var(0).mean() < 1.4


@pytest.mark.parametrize("toy", TOYS)
def test_denormalize_undoes_normalize(toy):
    z = toy().draw(100, seeded()).z
    normalization = toy().normalization
    torch.testing.assert_close(normalization.denormalize(normalization.normalize(z)), z)


def test_moons_match_scikit_learn():
    """Energy distance 2E|x-z| - E|x-x'| - E|z-z'|, against its permutation distribution."""
    n = 400
    ours = Moons(noise=0.1).draw(n, seeded()).z.double()
    theirs = torch.from_numpy(make_moons(n, noise=0.1, random_state=0)[0])
    distances = torch.cdist(torch.cat([ours, theirs]), torch.cat([ours, theirs]))

    def energy(sign):  # sign +1 for one sample and -1 for the other
        return -(sign @ distances @ sign) / n**2

    sign = torch.cat([torch.ones(n), -torch.ones(n)]).double()
    observed = energy(sign)
    permuted = [energy(sign[torch.randperm(2 * n, generator=seeded(i))]) for i in range(200)]
    assert observed < sorted(permuted)[197]  # not beyond the 1% level
    wrong = Moons(noise=0.1).draw(n, seeded()).z.double() + torch.tensor([0.25, 0.0])
    distances = torch.cdist(torch.cat([wrong, theirs]), torch.cat([wrong, theirs]))
    assert energy(sign) > max(permuted)  # the test has the power to tell


def test_moons_without_noise_lie_on_the_half_circles():
    z, y = Moons(noise=0, labels=True).draw(1000, seeded())
    upper, lower = z[y == 0], z[y == 1] - torch.tensor([1.0, 0.5])
    for half, sign in ((upper, 1), (lower, -1)):
        torch.testing.assert_close(half.norm(dim=1), torch.ones(len(half)))
        assert (sign * half[:, 1] >= -1e-6).all()


def test_checkerboard_points_lie_on_dark_squares_evenly():
    z, y = Checkerboard(labels=True).draw(N, seeded())
    i, j = z.floor().long().unbind(1)
    assert ((i + j) % 2 == 0).all()
    assert z.abs().max() <= 2
    corner = torch.tensor(Checkerboard.corners)[y]
    assert torch.equal(corner, torch.stack([i, j], 1))
    inside = z - z.floor()
    assert (inside.mean(0) - 0.5).abs().max() < 5 * math.sqrt(1 / 12 / N)


def test_circles_without_noise_have_radius_two_and_one():
    z, y = Circles(noise=0, labels=True).draw(1000, seeded())
    torch.testing.assert_close(z.norm(dim=1), 2.0 - y)


def test_eight_gaussians_are_isotropic_about_their_centres():
    z, y = EightGaussians(noise=0.2, labels=True).draw(N, seeded())
    angle = y * (math.pi / 4)
    off = z - math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    variance = off.T @ off / N
    # Five standard errors of a variance of normal draws, sigma^2 sqrt(2 / n).
    assert (variance - 0.04 * torch.eye(2)).abs().max() < 5 * 0.04 * math.sqrt(2 / N)


def test_spirals_without_noise_satisfy_their_equation():
    z, y = Spirals(noise=0, labels=True).draw(1000, seeded())
    radius = z.norm(dim=1)
    angle = 1.5 * math.pi * radius
    expected = (radius * (1 - 2 * y))[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=0)


def test_pinwheel_has_fivefold_symmetry():
    z, y = Pinwheel(labels=True).draw(N, seeded())
    back = -y * (2 * math.pi / 5)
    cos, sin = back.cos(), back.sin()
    turned = torch.stack([z[:, 0] * cos - z[:, 1] * sin, z[:, 0] * sin + z[:, 1] * cos], 1)
    means = torch.stack([turned[y == k].mean(0) for k in range(5)])
    assert (means - means.mean(0)).abs().max() < 5 * turned.std() / math.sqrt(N / 5)
    assert means.norm(dim=1).min() > 0.5  # the arms do not lie about the origin
