"""Estimated divergences: unbiased, as far off as they say, in the order of their variances; and differentiable."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_gaussian.source import GaussianSource
from flowkit_heads.heads import VelocityHead
from flowkit_ode.dopri5 import Dopri5
from flowkit_ode.heun import Heun
from flowkit_ode.rk4 import RK4
from oracles import LIMIT, GaussianMixture, errors_off, mixture, seeded
from torch import nn

import flowkit as fk
from flowkit import ExactDivergence, Hutchinson, HutchPlusPlus, Model, Predictor, Quantity, UnsupportedError

TIMES = torch.linspace(0, 1, 11, dtype=torch.float64)
SOLVE = {"source": GaussianSource(), "integrator": Heun(), "times": TIMES}
STOCHASTIC = {
    "one sign": Hutchinson(),
    "signs": Hutchinson(6),
    "normal": Hutchinson(6, gaussian=True),
    "hutch++": HutchPlusPlus(2, 3),
}
every_estimate = pytest.mark.parametrize("divergence", STOCHASTIC.values(), ids=STOCHASTIC)


def states(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64).to(dtype)


class Linear(Predictor):
    """u = A x."""

    def __init__(self, matrix):
        self.matrix = matrix

    def can_predict(self, wanted):
        return wanted is Quantity.VELOCITY

    def predict(self, x, t, y, wanted):
        return ((x.flatten(1) @ self.matrix.T.to(x)).reshape(x.shape),)


class Bent(nn.Module):
    """A network on events of any shape whose Jacobian is full and not symmetric."""

    def __init__(self, d, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Linear(d + 1, 16), nn.Tanh(), nn.Linear(16, d)).to(dtype)

    def forward(self, x, t, y=None):
        return self.inner(torch.cat([x.flatten(1), t[:, None]], 1)).reshape(x.shape)


def bent(d, dtype=torch.float64):
    return Model(Bent(d, dtype), VelocityHead(), GaussianPath(CondOT()))


def traces(divergence, field, x, t=0.4):
    """The estimates of the divergence of a field at x, shape (batch, estimates)."""
    x = x.requires_grad_()
    velocity = field.velocity(x, t).flatten(1)

    def product(v):
        return torch.autograd.grad(velocity, x, v.reshape(velocity.shape), retain_graph=True)[0].flatten(1)

    return divergence.trace(product, divergence.draw(x.flatten(1), seeded()), x.flatten(1)).detach()


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3, 2)], ids=str)
def test_the_exact_divergence_is_the_trace_of_the_jacobian(shape):
    model, x = bent(math.prod(shape)), states(4, *shape)

    def velocity(one):
        return model.velocity(one.reshape(1, *shape), 0.4).flatten()

    expected = [torch.autograd.functional.jacobian(velocity, one.flatten()).trace() for one in x]
    torch.testing.assert_close(traces(ExactDivergence(), model, x)[:, 0], torch.stack(expected))


@every_estimate
def test_every_estimate_is_unbiased(divergence):
    """One state 4,000 times, each time with its own noise; each estimate on its own."""
    model, x = bent(6), states(1, 6)
    exact = traces(ExactDivergence(), model, x)
    found = traces(divergence, model, x.detach().repeat(4000, 1))
    assert found.shape == (4000, divergence.estimates)
    assert errors_off(found, exact[0]) < LIMIT


@pytest.mark.parametrize("matrix", ["identity", "nothing", "low rank", "both"])
def test_what_hutch_plus_plus_finds_exactly(matrix):
    """A multiple of the identity and as many directions as its rank, which is 2 here."""
    directions = torch.linalg.qr(states(8, 2)).Q
    identity, low_rank = torch.eye(8).double(), directions @ torch.tensor([5.0, -2.0]).double().diag() @ directions.T
    field = {
        "identity": 3 * identity,
        "nothing": 0 * identity,
        "low rank": low_rank,
        "both": 3 * identity + low_rank,
    }[matrix]
    found = traces(HutchPlusPlus(2, 3), Linear(field), states(5, 8))
    torch.testing.assert_close(found, field.trace().expand(5, 3))


def test_signs_make_no_error_on_the_diagonal():
    diagonal = torch.arange(1.0, 6.0, dtype=torch.float64)
    found = traces(Hutchinson(3), Linear(diagonal.diag()), states(4, 5))
    torch.testing.assert_close(found, torch.full((4, 3), 15.0, dtype=torch.float64))


@pytest.mark.parametrize("gaussian", [False, True])
def test_hutchinson_has_the_variance_that_it_says(gaussian):
    """The standard error of a variance is about sqrt((kurtosis - 1) / n), with a kurtosis under 12 here."""
    matrix, n = states(8, 8), 20000
    symmetric = matrix + matrix.T
    if not gaussian:
        symmetric = symmetric - symmetric.diag().diag()
    expected = symmetric.square().sum() / 2
    found = traces(Hutchinson(1, gaussian), Linear(matrix), states(n, 8)).var()
    assert float(found / expected) == pytest.approx(1, abs=LIMIT * (11 / n) ** 0.5)


def test_variances_come_in_the_known_order_at_equal_cost():
    """Twelve backward passes each. A symmetric Jacobian with eigenvalues that fall like 1/k^2, turned at random."""
    turn = torch.linalg.qr(states(30, 30)).Q
    eigenvalues = 10 / torch.arange(1, 31, dtype=torch.float64) ** 2
    field, x = Linear(turn @ eigenvalues.diag() @ turn.T), states(500, 30)

    def deviation(divergence):
        return float(traces(divergence, field, x).mean(1).std())

    plus_plus, signs = deviation(HutchPlusPlus(4, 4)), deviation(Hutchinson(12))
    normal = deviation(Hutchinson(12, gaussian=True))
    assert plus_plus < signs / 3
    assert signs < normal


@every_estimate
@pytest.mark.parametrize("shape", [(6,), (1, 3, 2)], ids=str)
def test_an_estimated_log_density_is_unbiased(divergence, shape):
    """Against the exact divergence on the same grid: not even the integrator errs between the two."""
    model, x = bent(6), states(1, *shape)
    exact = fk.log_prob(model, x, **SOLVE)
    many = x.expand(1000, *shape)
    found = fk.log_prob(model, many, divergence=divergence, generator=seeded(2), **SOLVE)
    assert found.std() > 1e-6
    assert errors_off(found, exact) < LIMIT


def test_the_likelihood_of_a_mixture_of_two_takes_a_sketch_of_one_direction():
    """In 16 dimensions with 4 backward passes a step: the two means span all that is not a multiple of the identity."""
    oracle = GaussianMixture(torch.randn(2, 16, generator=seeded(1)), [0.3, 0.9], [0.4, 0.6])
    x, solve = states(5, 16), {**SOLVE, "integrator": RK4()}
    found = fk.log_prob(oracle, x, divergence=HutchPlusPlus(1, 2), generator=seeded(2), **solve)
    torch.testing.assert_close(found, fk.log_prob(oracle, x, **solve))


@pytest.mark.parametrize("divergence", [Hutchinson(8), HutchPlusPlus(2, 8)], ids=["hutchinson", "hutch++"])
def test_the_standard_error_is_honest(divergence):
    """Of squares: its mean is the variance of the values, which 1,000 of them give to some 10 percent."""
    model, x = bent(6), states(1, 6).expand(1000, 6)
    found = fk.estimate_log_prob(model, x, divergence=divergence, generator=seeded(2), **SOLVE)
    assert float(found.standard_error.square().mean() / found.value.var()) == pytest.approx(1, rel=0.3)


def test_standard_errors_where_there_is_nothing_to_compare():
    model, x = bent(3), states(2, 3)
    assert fk.estimate_log_prob(model, x, **SOLVE).standard_error.tolist() == [0, 0]
    assert fk.estimate_log_prob(model, x, divergence=Hutchinson(), **SOLVE).standard_error.isnan().all()


@pytest.mark.parametrize("integrator", [RK4(), Dopri5()], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("divergence", [Hutchinson(2), HutchPlusPlus(2, 2)], ids=["hutchinson", "hutch++"])
def test_noise_is_drawn_once_for_a_whole_solve(integrator, divergence):
    """Of a constant Jacobian the estimate then is that of the first evaluation, whatever the steps."""
    matrix, x = states(5, 5) / 5, states(3, 5)
    solve = {**SOLVE, "integrator": integrator, "divergence": divergence}
    found = fk.log_prob(Linear(matrix), x, generator=seeded(), **solve)
    once = traces(divergence, Linear(matrix), x.clone()).mean(1)
    exact = fk.log_prob(Linear(matrix), x, **{**SOLVE, "integrator": integrator})
    torch.testing.assert_close(found, exact + matrix.trace() - once, rtol=0, atol=1e-4)


@every_estimate
def test_the_generator_decides(divergence):
    def found(seed):
        return fk.log_prob(bent(6), states(3, 6), divergence=divergence, generator=seeded(seed), **SOLVE)

    assert torch.equal(found(0), found(0))
    assert not torch.equal(found(0), found(1))


@every_estimate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_estimates_keep_the_type_and_leave_no_graph(divergence, dtype):
    found = fk.log_prob(bent(6, dtype), states(3, 6, dtype=dtype), divergence=divergence, **SOLVE)
    assert found.dtype == dtype
    assert not found.requires_grad


# Gradients.


def test_the_gradient_of_the_log_density_is_the_score():
    """Of the mixture at t = 1; RK4 with 100 steps errs by less than 1e-3."""
    oracle, x = mixture(), mixture().sample(6, 1.0, seeded()).requires_grad_()
    times = torch.linspace(0, 1, 101, dtype=torch.float64)
    found = fk.log_prob(oracle, x, source=GaussianSource(), integrator=RK4(), times=times, gradients=True)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient, oracle.score(x.detach(), 1.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("divergence", [None, Hutchinson(2), HutchPlusPlus(1, 2)], ids=["exact", "signs", "hutch++"])
def test_the_gradient_in_a_weight_is_a_difference_quotient(divergence):
    """Of central differences with h = 1e-5. The basis of Hutch++ counts as a constant, so its gradient is unbiased
    and no difference quotient: it is compared in its mean over 2,000 draws.
    """
    model = bent(4)
    weight = model.network.inner[0].weight
    many = isinstance(divergence, HutchPlusPlus)
    x = states(1, 4).expand(2000, 4) if many else states(3, 4)

    def total(divergence=divergence, gradients=False):
        return fk.log_prob(model, x, divergence=divergence, generator=seeded(), gradients=gradients, **SOLVE).mean()

    (gradient,) = torch.autograd.grad(total(gradients=True), weight)

    def moved(by):
        with torch.no_grad():
            weight[0, 0] += by
        value = total(None if many else divergence)
        with torch.no_grad():
            weight[0, 0] -= by
        return value

    quotient = float(moved(1e-5) - moved(-1e-5)) / 2e-5
    assert float(gradient[0, 0]) == pytest.approx(quotient, rel=0.05 if many else 1e-5)


# Refusals and units.


def test_a_sketch_as_large_as_the_space_is_refused():
    with pytest.raises(UnsupportedError, match="rank 2 needs more than 4 dimensions, and there are 4: take Exact"):
        fk.log_prob(bent(4), states(2, 4), divergence=HutchPlusPlus(2, 2), **SOLVE)


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: Hutchinson(0), "probes"), (lambda: HutchPlusPlus(0, 2), "rank"), (lambda: HutchPlusPlus(2, 0), "probes")],
)
def test_no_probes_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        make()


@pytest.mark.parametrize(("low", "high"), [(0.0, 256.0), (0.0, 1.0), (-1.0, 1.0)])
def test_uniform_bytes_have_eight_bits_in_any_units(low, high):
    log_density = torch.full((3,), -12 * math.log(high - low))
    found = fk.bits_per_dim(log_density, (3, 2, 2), spacing=(high - low) / 256)
    torch.testing.assert_close(found, torch.full((3,), 8.0))


def test_a_pipeline_estimates_too():
    """In blocks of noise that do not depend on the batches, with errors in nats."""
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16, depth=2).sampling("heun", steps=4)
    pipeline = builder.build()
    x = states(300, 2, dtype=torch.float32)
    exact = pipeline.log_prob(x)
    found = pipeline.estimate_log_prob(x, divergence=Hutchinson(4), seed=1)
    assert found.value.shape == found.standard_error.shape == (300,)
    torch.testing.assert_close(pipeline.log_prob(x, divergence=Hutchinson(4), seed=1), found.value)
    in_parts = pipeline.log_prob(x, divergence=Hutchinson(4), seed=1, batch_size=256)
    torch.testing.assert_close(in_parts, found.value, rtol=1e-4, atol=1e-4)
    assert errors_off(found.value - exact, torch.zeros(())) < LIMIT
    assert pipeline.log_prob(x[:0]).shape == (0,)
