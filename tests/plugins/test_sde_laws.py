"""The law of x_t under ODE and SDE is p_t, whatever the diffusion coefficient: against its distribution function.

The exact field of two Gaussians on the line, 20,000 samples, and the Kolmogorov-Smirnov statistic D at four times. By
the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant, P(D > e) <= 2 exp(-2 n e^2) for samples of
the right law; LIMIT is the e where that is 1e-6.
"""

import functools
import inspect
import math
from itertools import product

import pytest
import torch
from brownian import IntegratedBrownian, Replay
from flowkit_sde.coefficients import CallableDiffusion, ConstantDiffusion
from flowkit_sde.srk import SRK
from oracles import SCHEDULES, GaussianMixture, seeded
from schedules import PATH

import flowkit as fk
from flowkit import SDE, Quantity
from flowkit.plugins import installed_plugins

COUNT = 20_000
LIMIT = math.sqrt(math.log(2 / 1e-6) / (2 * COUNT))
BIAS = LIMIT / 2
AT = (0.25, 0.5, 0.75, 1.0)
WEIGHTS, MEANS, STDS = (0.7, 0.3), (-1.0, 1.5), (0.6, 0.4)


@functools.cache
def at(schedule, t):
    """alpha, beta^2, and the derivatives of both."""
    t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    values = [function(t) for function in SCHEDULES[schedule]]
    return [value.item() for value in (*values, *(torch.autograd.grad(value, t)[0] for value in values))]


class TwoGaussians(fk.Predictor):
    """The fields of two components on the line, with one sigmoid for p(k|x): a fifth of what the oracle costs."""

    def __init__(self, schedule):
        self.schedule = schedule

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        alpha, beta_squared, alpha_dot, beta_squared_dot = at(self.schedule, t)
        (v0, g0), (v1, g1) = (
            (v, (x - alpha * m) / v) for m, v in zip(MEANS, self.variances(alpha, beta_squared), strict=True)
        )
        odds = math.log(WEIGHTS[1] / WEIGHTS[0]) + (math.log(v0 / v1) + v0 * g0.square() - v1 * g1.square()) / 2
        p = torch.sigmoid(odds)
        slope = torch.lerp(g0, g1, p)
        data = torch.lerp(MEANS[0] + alpha * STDS[0] ** 2 * g0, MEANS[1] + alpha * STDS[1] ** 2 * g1, p)
        fields = {Quantity.VELOCITY: alpha_dot * data + beta_squared_dot / 2 * slope, Quantity.SCORE: -slope}
        return tuple(fields[quantity] for quantity in wanted)

    def variances(self, alpha, beta_squared):
        return [alpha**2 * std**2 + beta_squared for std in STDS]

    def cdf(self, x, t):
        alpha, beta_squared, *_ = at(self.schedule, t)
        parts = zip(WEIGHTS, MEANS, self.variances(alpha, beta_squared), strict=True)
        return sum(w * torch.special.ndtr((x - alpha * m) / math.sqrt(v)) for w, m, v in parts)


def mixture(schedule):
    return GaussianMixture([[m] for m in MEANS], STDS, WEIGHTS, schedule)


@pytest.mark.parametrize("schedule", ["condot", "vp"])
def test_the_fields_on_the_line_are_those_of_the_oracle(schedule):
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]
    for t in (0.0, 0.3, 0.9):
        for quantity in (Quantity.VELOCITY, Quantity.SCORE):
            (found,), (exact,) = (m(schedule).predict(x, t, None, (quantity,)) for m in (TwoGaussians, mixture))
            torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)
        leaf = x.clone().requires_grad_()
        (density,) = torch.autograd.grad(TwoGaussians(schedule).cdf(leaf, t).sum(), leaf)
        torch.testing.assert_close(density.squeeze(1), mixture(schedule).log_prob(x, t).exp(), rtol=1e-10, atol=1e-12)


class Scaled(SDE):
    """The SDE with a factor on its term sigma^2/2 s, which is 1."""

    factor = 1.0

    def drift(self, x, t):
        velocity, score = self.predict(x, t, (Quantity.VELOCITY, Quantity.SCORE))
        return velocity + self.factor * self.diffusion(t) ** 2 / 2 * score


@functools.cache
def noise(steps, merged):
    """What SRK draws in so many steps, two draws in each: drawn once, for they cost as much as all that follows."""
    path = IntegratedBrownian(2, COUNT, merged)
    return [path.draw(lambda n, g: torch.randn(n, 1, generator=g, dtype=torch.float64)) for _ in range(2 * steps)]


def solve(schedule, diffusion, steps, merged, factor=None):
    """The samples at the times `AT`, from the exact p_0, each number of steps along the same Brownian paths."""
    model, path = TwoGaussians(schedule), PATH[schedule]
    # Never 0, so that a step without noise draws as well, and all step lengths stay on one Brownian path.
    drawn = CallableDiffusion(lambda t: diffusion.sigma(t, path) or 1e-300)
    sde = SDE(model, drawn, path=path) if factor is None else Scaled(model, drawn, path=path)
    sde.factor = factor
    x0 = mixture(schedule).sample(COUNT, 0.0, seeded(1))
    grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    states = SRK().trajectory(sde, x0, grid, Replay(*noise(steps, merged)))
    return [x.flatten().sort().values for i, x in enumerate(states) if i and i % (steps // len(AT)) == 0]


def distances(schedule, found):
    """D at each time."""
    below = torch.arange(COUNT, dtype=torch.float64) / COUNT
    exact = [TwoGaussians(schedule).cdf(x, t) for x, t in zip(found, AT, strict=True)]
    return [float(torch.maximum(below + 1 / COUNT - f, f - below).max()) for f in exact]


def between(first, second):
    """D of two sets of samples."""
    both = torch.cat([first, second])
    counts = (torch.searchsorted(x, both, right=True) for x in (first, second))
    return float((next(counts) - next(counts)).abs().max()) / COUNT


def coefficient(name, scale):
    """A registered coefficient; its first setting is its size."""
    registry = installed_plugins().registry
    size = next(iter(inspect.signature(registry.load(registry.find("diffusion", name))).parameters))
    return fk.create("diffusion", name, **{size: scale})


COEFFICIENTS = [entry.component.name for entry in installed_plugins().registry.of_kind("diffusion")]
STEPS = 32


@pytest.mark.parametrize(
    ("schedule", "name", "scale"),
    [
        ("condot", "constant", 0.0),
        *product(["condot"], COEFFICIENTS, [0.5, 1.0, 2.0]),
        *product(["vp"], COEFFICIENTS, [1.0]),
    ],
)
def test_with_any_noise_the_law_is_that_of_the_path(schedule, name, scale):
    """The discretisation is below the sampling error: SRK with half the steps, along the same Brownian paths, ends
    within `BIAS` in D. The weak order is at least 1, so this bounds what is left with all the steps.
    """
    diffusion = coefficient(name, scale)
    fine, coarse = solve(schedule, diffusion, 2 * STEPS, 1), solve(schedule, diffusion, STEPS, 2)
    assert max(map(between, fine, coarse)) < BIAS
    assert max(distances(schedule, fine)) < LIMIT + BIAS


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0], ids=["sigma^2", "minus", "no score"])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_the_comparison_sees_every_slip_in_the_drift(name, factor):
    """The negative control: sigma^2 for sigma^2/2, the sign, and a score left out; each is outside the limit."""
    slipped = solve("condot", coefficient(name, 1.0), STEPS, 2, factor)
    assert max(distances("condot", slipped)) > LIMIT + BIAS


def test_the_comparison_sees_a_fifth_too_much():
    slipped = solve("condot", ConstantDiffusion(2.0), STEPS, 2, 1.2)
    assert max(distances("condot", slipped)) > LIMIT + BIAS
    assert max(distances("condot", solve("condot", ConstantDiffusion(2.0), STEPS, 2, 1.0))) < LIMIT + BIAS
