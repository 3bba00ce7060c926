"""Gaussian paths: schedules, conditional and marginal fields, conversions up to both ends of time; and the oracle."""

import itertools

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CallableSchedule, Polynomial, Target
from flowkit_gaussian.source import GaussianSource
from oracles import LIMIT, SCHEDULES, GaussianMixture, errors_off, mixture, seeded
from schedules import PATH

from flowkit import ConfigError, Quantity, Source, UnsupportedError

every_schedule = pytest.mark.parametrize("name", PATH)
every_pair = pytest.mark.parametrize(("given", "wanted"), list(itertools.product(Quantity, Quantity)))
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
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
    oracle, h, line = mixture(name), 1e-5, torch.linspace(-3, 3, 7, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    x, t = points.repeat_interleave(len(inside), 0), inside.repeat(len(points))[:, None]
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


# The conditional path.


@every_schedule
def test_a_sample_of_the_path_has_mean_alpha_z_and_deviation_beta(name):
    z, t = torch.tensor([3.0, -1.0], dtype=torch.float64), 0.7
    x = PATH[name].sample(normal(40_000, 2), z.expand(40_000, 2), torch.full((40_000,), t, dtype=torch.float64))
    alpha, beta_squared = (function(torch.tensor(t, dtype=torch.float64)) for function in SCHEDULES[name])
    assert errors_off(x, alpha * z) < LIMIT
    assert errors_off((x - alpha * z).square(), beta_squared) < LIMIT


@every_schedule
@pytest.mark.parametrize("one", [float, torch.tensor], ids=["number", "tensor"])
def test_one_time_for_all_stands_for_the_same_time_for_each(name, one):
    path, x0, z, t = PATH[name], normal(5, 2), normal(5, 2, seed=1), torch.full((5,), 0.3, dtype=torch.float64)
    one = one(0.3) if one is float else one(0.3, dtype=torch.float64)
    x = path.sample(x0, z, t)
    torch.testing.assert_close(path.sample(x0, z, one), x)
    torch.testing.assert_close(path.velocity(x, x0, z, one), path.velocity(x, x0, z, t))
    torch.testing.assert_close(path.score(x, x0, z, one), path.score(x, x0, z, t))


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
def test_the_path_starts_and_ends_where_its_schedule_says(name):
    """At x0 and z for most; `ve` and `edm` start with z in the noise, and some leave noise at the end."""
    path, x0, z = PATH[name], normal(4, 2), normal(4, 2, seed=1)
    for t in (torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)):
        alpha, beta_squared = (function(t)[:, None] for function in SCHEDULES[name])
        torch.testing.assert_close(path.sample(x0, z, t), alpha * z + beta_squared.sqrt() * x0, rtol=1e-12, atol=1e-12)
    assert path.start_scale(0.0) == pytest.approx(float(SCHEDULES[name][1](torch.tensor(0.0)).sqrt()), rel=1e-6)


@every_schedule
@pytest.mark.parametrize("end", [0.0, 1.0])
@every_dtype
def test_a_conditional_field_is_never_infinite_without_a_word(name, end, dtype):
    """At the data the conditional score does not exist, nor does the velocity where beta has an infinite slope."""
    x0, z = normal(4, 2).to(dtype), normal(4, 2, seed=1).to(dtype)
    path, t = PATH[name], torch.full((4,), end, dtype=dtype)
    for function in (path.velocity, path.score):
        try:
            value = function(z, x0, z, t)
        except UnsupportedError:
            continue
        assert value.isfinite().all(), f"{function.__name__} at t = {end}"


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
def test_one_time_for_all_converts_like_the_same_time_for_each(name):
    path, value, x = PATH[name], normal(5, 2), normal(5, 2, seed=1)
    for t, given, wanted in itertools.product((0.1, 0.6), Quantity, Quantity):
        each = path.convert(value, x, torch.full((5,), t, dtype=torch.float64), given, wanted)
        torch.testing.assert_close(path.convert(value, x, t, given, wanted), each, rtol=1e-12, atol=1e-12)
        zero_dimensional = torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(
            path.convert(value, x, zero_dimensional, given, wanted), each, rtol=1e-12, atol=1e-12
        )


def undetermined(name, wanted, t):
    """What the conversions document to refuse: nothing else may be."""
    no_noise_left = SCHEDULES[name][1](torch.tensor(1.0)) == 0
    return t == 1 and (
        (wanted is Quantity.SCORE and no_noise_left) or (wanted is Quantity.VELOCITY and name in ("vp", "ddpm"))
    )


def converted_to(wanted, name, given, value, x, t, oracle):
    """Hold a conversion against the oracle. It is a sum of a multiple of x and one of the value, so what rounding of
    the two and of their coefficients does to it is some units of the last place of these terms.
    """
    path, exact, zero = PATH[name], x.double(), torch.zeros_like(x).double()
    found = path.convert(value, x, t, given, wanted, oracle.mean.to(x.dtype))
    assert found.dtype == x.dtype
    expected = field(oracle, wanted, exact, t.double() if isinstance(t, torch.Tensor) else t)
    terms = (
        path.convert(zero, exact, t, given, wanted).abs() + path.convert(value.double(), zero, t, given, wanted).abs()
    )
    # 1e-9: next to the data, 1 - t' of a shifted time has lost 6 of its 16 digits, and so has beta.
    unit = max(30 * torch.finfo(x.dtype).eps, 1e-9)
    assert ((found.double() - expected).abs() <= unit * (terms + expected.abs() + 1)).all()  # 1: the size of the data


@every_schedule
@every_pair
@every_dtype
def test_at_every_time_both_ends_included_a_conversion_is_exact_or_refused(name, given, wanted, dtype):
    """The oracle is regular at the ends, so its own fields there are the limits."""
    oracle, eps = mixture(name), torch.finfo(dtype).eps
    gap = max(eps, 1e-6)
    t = torch.tensor([0.0, gap, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-3, 1 - gap, 1.0], dtype=dtype)
    x = (2 * normal(len(t), 2)).to(dtype)
    value = field(oracle, given, x.double(), t.double()).to(dtype)
    refused = torch.tensor([given is not wanted and undetermined(name, wanted, time) for time in t.tolist()])
    for time, point, one in zip(t[refused].tolist(), x[refused], value[refused], strict=True):
        for same in (time, torch.tensor([time], dtype=dtype)):
            with pytest.raises(UnsupportedError, match=f"the {wanted.value} is not determined at this time"):
                PATH[name].convert(one[None], point[None], same, given, wanted)
    kept = ~refused
    converted_to(wanted, name, given, value[kept], x[kept], t[kept], oracle)
    for i in kept.nonzero().flatten()[[0, -1]].tolist():
        converted_to(wanted, name, given, value[i : i + 1], x[i : i + 1], t[i].item(), oracle)


@every_schedule
@every_dtype
def test_next_to_both_ends_a_conversion_is_finite_and_so_is_its_gradient(name, dtype):
    eps = torch.finfo(dtype).eps
    t = torch.tensor([eps, max(eps, 1e-6), 0.01, 0.99, 1 - max(eps, 1e-6), 1 - eps], dtype=dtype)
    for given, wanted in itertools.product(Quantity, Quantity):
        value, x = (normal(6, 2, seed=seed).to(dtype).requires_grad_() for seed in (0, 1))
        converted = PATH[name].convert(value, x, t, given, wanted)
        converted.sum().backward()
        for found in (converted, value.grad, x.grad if x.grad is not None else converted):
            assert found.isfinite().all(), (given, wanted)


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


def test_a_velocity_at_rest_leaves_the_data_mean_at_the_noise_and_the_state_at_the_data():
    """Where both derivatives are 0 the velocity is 0 whatever the data are."""
    value, x, mean = normal(3, 2), normal(3, 2, seed=1), 0.3
    starts = GaussianPath(Polynomial(3.0))
    for t in (0.0, torch.zeros(3)):
        data = starts.convert(value, x, t, Quantity.VELOCITY, Quantity.DATA, mean)
        assert torch.equal(data, torch.full_like(x, mean))
        assert torch.equal(starts.convert(value, x, t, Quantity.VELOCITY, Quantity.NOISE, mean), x)
    arrives = GaussianPath(CallableSchedule(lambda t: 1 - (1 - t) ** 2, lambda t: (1 - t) ** 2))
    for t in (1.0, torch.ones(3)):
        assert torch.equal(arrives.convert(value, x, t, Quantity.VELOCITY, Quantity.DATA), x)
        assert torch.equal(arrives.convert(value, x, t, Quantity.VELOCITY, Quantity.NOISE), torch.zeros_like(x))


def test_a_velocity_at_rest_between_noise_and_data_is_refused():
    stops = GaussianPath(CallableSchedule(lambda t: 0.5 + 4 * (t - 0.5) ** 3, lambda t: 0.5 - 4 * (t - 0.5) ** 3))
    for t in (0.5, torch.full((3,), 0.5)):
        with pytest.raises(UnsupportedError, match=r"the data is not determined.*the velocity says no more than x"):
            stops.convert(normal(3, 2), normal(3, 2), t, Quantity.VELOCITY, Quantity.DATA)


def test_an_infinite_slope_of_alpha_is_a_limit_or_refused_too():
    path = GaussianPath(CallableSchedule(torch.sqrt, lambda t: torch.sqrt(1 - t)))
    value, x = normal(3, 2), normal(3, 2, seed=1)
    assert torch.equal(path.convert(value, x, 0.0, Quantity.VELOCITY, Quantity.DATA, 0.3), torch.full_like(x, 0.3))
    assert torch.equal(path.convert(value, x, 1.0, Quantity.VELOCITY, Quantity.DATA), x)
    for t in (0.0, 1.0):
        with pytest.raises(UnsupportedError, match="a derivative of the schedule is infinite"):
            path.convert(value, x, t, Quantity.DATA, Quantity.VELOCITY)


def test_coefficients_beyond_the_range_of_the_state_are_refused():
    """score = ... - (x - t z) / beta^2 with beta = (1 - t)^4: 1e-56 next to t = 1 in float32."""
    path, x = GaussianPath(CallableSchedule(lambda t: t, lambda t: (1 - t) ** 4)), torch.ones(1, 2)
    with pytest.raises(UnsupportedError, match=r"beyond the range of torch\.float32"):
        path.convert(x, x, torch.tensor([1 - 2**-24]), Quantity.DATA, Quantity.SCORE)


@every_schedule
def test_the_conditional_fields_of_the_data_satisfy_the_continuity_equation_after_conversion(name):
    """The denoiser of the mixture, converted to a velocity, moves the density of the mixture (see above)."""
    oracle, t, h = mixture(name), inside[::4], 1e-5
    x = normal(len(t), 2)

    def velocity(x):
        return PATH[name].convert(oracle.denoise(x, t), x, t, Quantity.DATA, Quantity.VELOCITY)

    in_time = (oracle.log_prob(x, t[:, None] + h) - oracle.log_prob(x, t[:, None] - h)) / (2 * h)
    divergence = sum(
        (velocity(x + shift) - velocity(x - shift))[:, i] / (2 * h)
        for i, shift in enumerate(h * torch.eye(2, dtype=torch.float64))
    )
    transport = (velocity(x) * slope(lambda x: oracle.log_prob(x, t[:, None]), x)).sum(1)
    torch.testing.assert_close(in_time, -transport - divergence, rtol=1e-6, atol=1e-5)


# Peers.


def test_states_and_targets_are_those_of_torchcfm():
    torchcfm = pytest.importorskip("torchcfm.conditional_flow_matching")
    matcher, path = torchcfm.TargetConditionalFlowMatcher(sigma=0.1), GaussianPath(Target(0.1))
    x0, z = normal(25, 2), normal(25, 2, seed=1)
    x = matcher.sample_xt(torch.zeros_like(z), z, inside, x0)
    torch.testing.assert_close(path.sample(x0, z, inside), x, rtol=1e-6, atol=1e-6)
    expected = matcher.compute_conditional_flow(None, z, inside, x)
    torch.testing.assert_close(path.velocity(x, x0, z, inside), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs", "settings"),
    [
        ("condot", "CondOTScheduler", {}),
        ("cosine", "CosineScheduler", {}),
        ("vp", "VPScheduler", {}),
        ("polynomial", "PolynomialConvexScheduler", {"n": 2}),
    ],
)
def test_states_targets_and_conversions_are_those_of_flow_matching(name, theirs, settings):
    module = pytest.importorskip("flow_matching.path")
    theirs = module.AffineProbPath(getattr(module.scheduler, theirs)(**settings))
    x0, z = normal(25, 2), normal(25, 2, seed=1)
    sample = theirs.sample(x0, z, inside)
    x, velocity = PATH[name].sample(x0, z, inside), PATH[name].velocity(sample.x_t, x0, z, inside)
    torch.testing.assert_close(x, sample.x_t, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(velocity, sample.dx_t, rtol=1e-6, atol=1e-6)
    t, names = inside[:, None], {Quantity.VELOCITY: "velocity", Quantity.NOISE: "epsilon", Quantity.DATA: "target"}
    for given, wanted in itertools.permutations(names, 2):
        expected = getattr(theirs, f"{names[given]}_to_{names[wanted]}")(x0, x, t)
        torch.testing.assert_close(PATH[name].convert(x0, x, inside, given, wanted), expected, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("name", PATH)
def test_every_schedule_as_it_comes_starts_from_noise(name):
    assert PATH[name].problems((2,)) == []


@pytest.mark.parametrize(
    ("schedule", "start"),
    [
        ({"name": "vp", "rate_max": 1.0}, "alpha = 0.76 and beta = 0.65"),
        ({"name": "ve", "sigma_max": 1.0}, "alpha = 1 and beta = 1"),
        ({"name": "logit_linear", "log_snr_min": -4.0}, "alpha = 0.134 and beta = 0.991"),
    ],
    ids=lambda value: str(value),
)
def test_a_schedule_that_starts_with_data_is_refused_where_samples_start_with_none(tiny, schedule, start):
    with pytest.raises(ConfigError, match=f"{start} at t = 0, where samples start from noise alone"):
        tiny.path("gaussian", schedule=schedule).build()
