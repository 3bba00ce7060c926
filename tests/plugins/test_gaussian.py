"""Gaussian paths: schedules, conditional and marginal fields, conversions up to both ends of time; and the oracle."""

import itertools
import math

import pytest
import scipy.integrate
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_gaussian.source import GaussianSource
from oracles import LIMIT, SCHEDULES, GaussianMixture, errors_off, mixture, seeded

from flowkit import Quantity, Schedule, Source, UnsupportedError

SCHEDULE = {"condot": CondOT(), "cosine": Cosine(), "vp": VariancePreserving()}
PATH = {name: GaussianPath(schedule) for name, schedule in SCHEDULE.items()}
every_schedule = pytest.mark.parametrize("name", SCHEDULE)
every_pair = pytest.mark.parametrize(("given", "wanted"), list(itertools.product(Quantity, Quantity)))
inside = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def field(oracle, quantity, x, t):
    return oracle.predict(x, t, None, (quantity,))[0]


def slope(function, t):
    """The derivative by backward-mode autograd."""
    t = t.clone().requires_grad_()
    return torch.autograd.grad(function(t).sum(), t)[0]


# The oracle itself.


@every_schedule
def test_the_score_of_the_oracle_is_the_gradient_of_its_log_density(name):
    oracle, x, t = mixture(name), 2 * normal(25, 2), torch.linspace(0, 1, 25, dtype=torch.float64)
    gradient = slope(lambda x: oracle.log_prob(x, t), x)
    torch.testing.assert_close(oracle.score(x, t), gradient, rtol=1e-10, atol=1e-10)


@every_schedule
def test_velocity_and_density_of_the_oracle_satisfy_the_continuity_equation(name):
    """d/dt log p + u . grad log p + div u = 0; central differences are off by h^2 |f'''| / 6 + 1e-15 / h << 1e-6."""
    oracle, t, h = mixture(name), inside[:, None], 1e-5
    line = torch.linspace(-3, 3, 7, dtype=torch.float64)
    for point in torch.cartesian_prod(line, line):
        x = point.expand(len(t), 2)
        in_time = (oracle.log_prob(x, t + h) - oracle.log_prob(x, t - h)) / (2 * h)
        divergence = torch.zeros(len(t), dtype=torch.float64)
        for i, shift in enumerate(h * torch.eye(2, dtype=torch.float64)):
            divergence += (oracle.velocity(x + shift, t) - oracle.velocity(x - shift, t))[:, i] / (2 * h)
        transport = (oracle.velocity(x, t) * slope(lambda x: oracle.log_prob(x, t), x)).sum(1)
        torch.testing.assert_close(in_time, -transport - divergence, rtol=1e-6, atol=1e-6)


@every_schedule
@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_draws_of_the_oracle_have_the_moments_of_the_mixture(name, t):
    oracle = mixture(name)
    alpha, beta_squared = (float(function(torch.tensor(t, dtype=torch.float64))) for function in SCHEDULES[name])
    mean = alpha * oracle.mean
    x = oracle.sample(50_000, t, seeded())
    assert errors_off(x, mean) < LIMIT
    assert errors_off((x - mean).square(), alpha**2 * oracle.variance + beta_squared) < LIMIT


def test_a_label_leaves_one_component_of_the_oracle_and_no_label_all():
    oracle, x, t = mixture(), normal(6, 2), 0.6
    y = torch.tensor([0, 1, 2, -1, -1, 0])
    alone = [GaussianMixture(oracle.means[k : k + 1], oracle.stds[k : k + 1], [1.0]) for k in range(3)]
    one_by_one = [(alone[k] if k >= 0 else oracle) for k in y.tolist()]
    for i, expected in enumerate(one_by_one):
        torch.testing.assert_close(oracle.velocity(x, t, y)[i], expected.velocity(x, t)[i])
        torch.testing.assert_close(oracle.log_prob(x, t, y)[i], expected.log_prob(x, t)[i])


# Schedules.


@pytest.mark.parametrize(
    ("name", "alpha_0", "beta_0"),
    [
        ("condot", 0.0, 1.0),
        ("cosine", 0.0, 1.0),
        ("vp", math.exp(-5.025), math.sqrt(1 - math.exp(-10.05))),  # the documented trace of the data
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_path_runs_from_noise_to_exactly_the_data(name, alpha_0, beta_0, dtype):
    schedule, ends = SCHEDULE[name], torch.tensor([0.0, 1.0], dtype=dtype)
    alpha, beta = schedule.alpha(ends), schedule.beta(ends)
    assert alpha.dtype == beta.dtype == dtype
    assert (alpha[1], beta[1]) == (1, 0)
    # Rounding of log alpha_0, about -5, is magnified by 5 in alpha_0.
    tolerance = 10 * torch.finfo(dtype).eps
    assert alpha[0].item() == pytest.approx(alpha_0, rel=tolerance)
    assert beta[0].item() == pytest.approx(beta_0, rel=tolerance)


@every_schedule
def test_alpha_and_beta_are_what_the_schedule_says(name):
    alpha, beta_squared = SCHEDULES[name]
    torch.testing.assert_close(SCHEDULE[name].alpha(inside), alpha(inside), rtol=1e-13, atol=0)
    torch.testing.assert_close(SCHEDULE[name].beta(inside).square(), beta_squared(inside), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("low", "high"), [(0.1, 20.0), (1.0, 1.0), (0.3, 5.0)])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_the_vp_schedule_integrates_its_rate(low, high, t):
    integral, _ = scipy.integrate.quad(lambda tau: low + tau * (high - low), 0, 1 - t)
    schedule, time = VariancePreserving(low, high), torch.tensor(t, dtype=torch.float64)
    assert schedule.alpha(time).item() == pytest.approx(math.exp(-integral / 2), rel=1e-12)
    assert schedule.beta(time).item() == pytest.approx(math.sqrt(1 - math.exp(-integral)), rel=1e-12)


def test_the_vp_rate_may_not_fall_with_the_noise():
    with pytest.raises(ValueError, match="rate_max must be at least rate_min = 2"):
        VariancePreserving(2.0, 1.0)


def test_beta_of_the_vp_schedule_keeps_its_digits_near_the_data():
    t = 1 - 2.0 ** -torch.arange(1, 24)  # float32, and 1 - t is exact
    exact = torch.sqrt(-torch.expm1(-(0.1 * (1 - t.double()) + 9.95 * (1 - t.double()) ** 2)))
    torch.testing.assert_close(VariancePreserving().beta(t).double(), exact, rtol=1e-6, atol=0)


@every_schedule
def test_the_derivatives_are_those_of_autograd(name):
    schedule = SCHEDULE[name]
    for closed, function, inherited in [
        (schedule.alpha_dot, schedule.alpha, Schedule.alpha_dot),
        (schedule.beta_dot, schedule.beta, Schedule.beta_dot),
    ]:
        expected = slope(function, inside)
        torch.testing.assert_close(closed(inside), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inherited(schedule, inside), expected, rtol=1e-12, atol=1e-12)


def test_the_slope_of_the_vp_beta_is_minus_infinite_at_the_data():
    assert VariancePreserving().beta_dot(torch.tensor(1.0)) == -math.inf


@every_schedule
def test_the_signal_to_noise_ratio_grows_strictly(name):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    log_snr = SCHEDULE[name].log_snr(t)
    assert (log_snr.diff() > 0).all()
    assert log_snr[-1] == math.inf
    alpha, beta_squared = SCHEDULES[name]
    torch.testing.assert_close(log_snr[1:-1], (alpha(t) ** 2 / beta_squared(t)).log()[1:-1], rtol=1e-10, atol=1e-10)


@every_schedule
def test_a_time_is_found_by_its_signal_to_noise_ratio(name):
    schedule = SCHEDULE[name]
    torch.testing.assert_close(schedule.time_of_log_snr(schedule.log_snr(inside)), inside, rtol=0, atol=1e-12)
    beyond = schedule.time_of_log_snr(torch.tensor([-math.inf, -1e4, 1e4, math.inf], dtype=torch.float64))
    # Bisection to 2^-52, as documented. 1e4 is beyond what float64 reaches before beta is 0.
    torch.testing.assert_close(beyond, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64), rtol=0, atol=2**-52)


# The conditional path.


@every_schedule
def test_a_sample_of_the_path_has_mean_alpha_z_and_deviation_beta(name):
    z, t = torch.tensor([3.0, -1.0], dtype=torch.float64), 0.7
    x = PATH[name].sample(normal(40_000, 2), z.expand(40_000, 2), torch.full((40_000,), t, dtype=torch.float64))
    alpha, beta_squared = (function(torch.tensor(t, dtype=torch.float64)) for function in SCHEDULES[name])
    assert errors_off(x, alpha * z) < LIMIT
    assert errors_off((x - alpha * z).square(), beta_squared) < LIMIT


@every_schedule
@pytest.mark.parametrize("event", [(2,), (3, 4, 4)])
def test_the_conditional_velocity_is_the_time_derivative_of_the_flow(name, event):
    path, x0, z = PATH[name], normal(25, *event), normal(25, *event, seed=1)
    x, derivative = torch.func.jvp(lambda t: path.sample(x0, z, t), (inside,), (torch.ones_like(inside),))
    torch.testing.assert_close(path.velocity(x, x0, z, inside), derivative, rtol=1e-12, atol=1e-12)


@every_schedule
def test_the_conditional_score_is_the_gradient_of_the_log_density(name):
    path, x0, z = PATH[name], normal(25, 2), normal(25, 2, seed=1)
    x = path.sample(x0, z, inside)
    alpha, beta_squared = (function(inside)[:, None] for function in SCHEDULES[name])
    density = torch.distributions.Normal(alpha * z, beta_squared.sqrt())
    torch.testing.assert_close(path.score(x, x0, z, inside), slope(density.log_prob, x), rtol=1e-9, atol=1e-9)


@every_schedule
def test_the_marginal_fields_are_the_posterior_means_of_the_conditional_ones(name):
    """E[u_t(x|z) | x_t = x] = u_t(x), tested as E[(u_t(x|z) - u_t(x)) f(x)] = 0 for several f; likewise the score."""
    oracle, path, n = mixture(name), PATH[name], 50_000
    x0, z = oracle.pairs(n, seeded())
    t = 0.05 + 0.85 * torch.rand(n, generator=seeded(1), dtype=torch.float64)
    x = path.sample(x0, z, t)
    tests = torch.stack([torch.ones(n), x[:, 0], x[:, 1], x[:, 0].square(), t * x[:, 0], x[:, 0].tanh()], dim=1)
    for quantity, conditional in [(Quantity.VELOCITY, path.velocity), (Quantity.SCORE, path.score)]:
        excess = conditional(x, x0, z, t) - field(oracle, quantity, x, t)
        assert errors_off(torch.einsum("ni,nj->nij", excess, tests), 0) < LIMIT


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_path_keeps_the_type_of_the_state(name, dtype):
    x0, z, t = (value.to(dtype) for value in (normal(25, 2), normal(25, 2, seed=1), inside))
    path = PATH[name]
    for value in (path.sample(x0, z, t), path.velocity(x0, x0, z, t), path.score(x0, x0, z, t)):
        assert value.dtype == dtype
        assert value.isfinite().all()


@every_schedule
def test_the_path_starts_at_x0_and_ends_at_z(name):
    path, x0, z = PATH[name], normal(4, 2), normal(4, 2, seed=1)
    assert torch.equal(path.sample(x0, z, torch.ones(4, dtype=torch.float64)), z)
    if name != "vp":
        assert torch.equal(path.sample(x0, z, torch.zeros(4, dtype=torch.float64)), x0)


@every_schedule
def test_a_conditional_field_is_never_infinite_without_a_word(name):
    """At the data the conditional score does not exist, nor does the velocity where beta has an infinite slope."""
    path, x0, z, t = PATH[name], normal(4, 2), normal(4, 2, seed=1), torch.ones(4, dtype=torch.float64)
    for function in (path.velocity, path.score):
        try:
            value = function(z, x0, z, t)
        except UnsupportedError:
            continue
        assert value.isfinite().all(), f"{function.__name__} at t = 1"


# Conversions.


@every_schedule
@every_pair
def test_every_quantity_converts_to_every_other_as_the_oracle_has_it(name, given, wanted):
    oracle, path, x = mixture(name), PATH[name], 2 * normal(25, 2)
    # Times near the ends magnify rounding by at most 1 / alpha or 1 / beta, 150 here, and once more for the score.
    tolerance = {"rtol": 1e-9, "atol": 1e-9}
    converted = path.convert(field(oracle, given, x, inside), x, inside, given, wanted)
    torch.testing.assert_close(converted, field(oracle, wanted, x, inside), **tolerance)
    for t in (0.03, 0.5, 0.97):
        converted = path.convert(field(oracle, given, x, t), x, t, given, wanted)
        torch.testing.assert_close(converted, field(oracle, wanted, x, t), **tolerance)


@every_schedule
@every_pair
@pytest.mark.parametrize("event", [(2,), (3, 4, 4)])
def test_converting_there_and_back_changes_nothing(name, given, wanted, event):
    path, value, x = PATH[name], normal(25, *event), normal(25, *event, seed=1)
    there = path.convert(value, x, inside, given, wanted)
    back = path.convert(there, x, inside, wanted, given)
    torch.testing.assert_close(back, value, rtol=1e-9, atol=1e-9)


@every_schedule
@every_pair
def test_one_time_for_all_converts_like_the_same_time_for_each(name, given, wanted):
    path, value, x = PATH[name], normal(5, 2), normal(5, 2, seed=1)
    for t in (0.1, 0.6):
        each = path.convert(value, x, torch.full((5,), t, dtype=torch.float64), given, wanted)
        torch.testing.assert_close(path.convert(value, x, t, given, wanted), each, rtol=1e-12, atol=1e-12)
        zero_dimensional = torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(
            path.convert(value, x, zero_dimensional, given, wanted), each, rtol=1e-12, atol=1e-12
        )


def undetermined(name, wanted, t):
    """What the path documents to refuse: nothing else may be."""
    return t == 1 and (wanted is Quantity.SCORE or (wanted is Quantity.VELOCITY and name == "vp"))


@every_schedule
@every_pair
@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_at_both_ends_a_conversion_gives_the_limit_or_refuses(name, given, wanted, t, dtype):
    """The oracle is regular at the ends, so its own fields there are the limits."""
    oracle, path, x = mixture(name), PATH[name], (2 * normal(25, 2)).to(dtype)
    value, expected = oracle.predict(x, t, None, (given, wanted))
    data_mean = oracle.mean.to(dtype)
    # Rounding of x and value (a few eps times their size, below 10) is divided by alpha or beta where they are not 0:
    # by alpha_0 = 0.0066 for the vp schedule.
    magnified = 1 / 0.0066 if name == "vp" and t == 0 else 1
    tolerance = {"rtol": 0, "atol": 40 * torch.finfo(dtype).eps * magnified}
    for time in (t, torch.full((25,), t, dtype=dtype)):
        if given is not wanted and undetermined(name, wanted, t):
            with pytest.raises(UnsupportedError, match="is not determined at this time"):
                path.convert(value, x, time, given, wanted, data_mean)
            continue
        converted = path.convert(value, x, time, given, wanted, data_mean)
        assert converted.dtype == dtype
        torch.testing.assert_close(converted, expected, **tolerance)


@every_schedule
@every_pair
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_next_to_both_ends_a_conversion_is_finite_and_so_is_its_gradient(name, given, wanted, dtype):
    eps = torch.finfo(dtype).eps
    t = torch.tensor([eps, 1e-6, 1e-3, 1 - 1e-3, 1 - 1e-6, 1 - eps], dtype=dtype)
    value, x = (normal(6, 2, seed=seed).to(dtype).requires_grad_() for seed in (0, 1))
    converted = PATH[name].convert(value, x, t, given, wanted)
    converted.sum().backward()
    for found in (converted, value.grad, x.grad if x.grad is not None else converted):
        assert found.isfinite().all()


@pytest.mark.parametrize("given", [Quantity.DATA, Quantity.NOISE])
def test_the_gradient_through_a_limit_is_finite(given):
    """A division by zero that `torch.where` hides still poisons the gradient."""
    t = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
    value, x = normal(3, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()
    for wanted in (Quantity.DATA, Quantity.NOISE, Quantity.VELOCITY):
        PATH["condot"].convert(value, x, t, given, wanted, 0.3).sum().backward()
    assert value.grad.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("wanted", [Quantity.SCORE, Quantity.VELOCITY])
def test_one_undetermined_time_in_a_batch_is_refused(wanted):
    t, value = torch.tensor([0.5, 1.0]), torch.ones(2, 2)
    with pytest.raises(UnsupportedError, match="stop short of it"):
        PATH["vp"].convert(value, value, t, Quantity.DATA, wanted)


# The source.


def test_a_gaussian_path_starts_from_the_standard_normal_only():
    class Other(Source):
        def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32):
            return torch.zeros(n, *event_shape)

    assert PATH["condot"].compatible_source(GaussianSource()) is None
    assert "N(0, I)" in PATH["condot"].compatible_source(Other())


def test_the_source_is_the_standard_normal_with_its_density():
    x = GaussianSource().sample(40_000, (1, 2), seeded(), dtype=torch.float64)
    assert x.shape == (40_000, 1, 2)
    assert (
        errors_off(torch.cat([x, x.square(), x[:, :, :1] * x[:, :, 1:]], dim=2), torch.tensor([0, 0, 1, 1, 0])) < LIMIT
    )
    expected = torch.distributions.Normal(0, 1).log_prob(x).sum((1, 2))
    torch.testing.assert_close(GaussianSource().log_prob(x), expected)
