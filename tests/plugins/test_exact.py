"""The exact fields against brute force, autograd, the oracle, and what they say of each other."""

import itertools
import math

import pytest
import torch
from flowkit_data.gaussian_mixture import GaussianMixture
from flowkit_exact import FiniteDataField, GaussianMixtureField
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_gaussian.source import GaussianSource
from flowkit_ode.midpoint import Midpoint
from flowkit_ode.rk4 import RK4
from flowkit_sde.coefficients import BetaDiffusion
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import LIMIT, SCHEDULES, errors_off, mixture, seeded

import flowkit as fk
from flowkit import Quantity, UnsupportedError

SCHEDULE = {"condot": CondOT(), "cosine": Cosine(), "vp": VariancePreserving()}
PATHS = {name: GaussianPath(schedule) for name, schedule in SCHEDULE.items()}
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
every_path = pytest.mark.parametrize("name", PATHS)
every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)
inside = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


POINTS, LABELS = 2 * normal(40, 2, seed=7), torch.arange(40) % 3
MEANS, WEIGHTS = normal(4, 3, seed=8), torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
ROOTS = normal(4, 3, 3, seed=9)
COVARIANCES = {
    "isotropic": torch.tensor([0.5, 0.2, 1.0, 0.3], dtype=torch.float64),
    "diagonal": 0.2 + normal(4, 3, seed=10).square(),
    "full": ROOTS @ ROOTS.mT + 0.2 * torch.eye(3, dtype=torch.float64),
}


def finite(name="condot", labels=LABELS):
    return FiniteDataField(PATHS[name], POINTS, labels)


def mixed(name="condot", form="full"):
    return GaussianMixtureField(PATHS[name], MEANS, COVARIANCES[form], WEIGHTS)


FIELDS = {"finite": finite} | {form: (lambda name="condot", form=form: mixed(name, form)) for form in COVARIANCES}
every_field = pytest.mark.parametrize("make", FIELDS.values(), ids=FIELDS)


def matrices(covariances):
    """Any of the three forms as matrices."""
    return covariances if covariances.ndim == 3 else torch.diag_embed(covariances.reshape(4, -1).expand(4, 3))


def states(field, n, seed=0):
    data = field.points if isinstance(field, FiniteDataField) else field.means
    return 1.5 * normal(n, *data.shape[1:], seed=seed)


def coefficients(name, t):
    alpha, beta_squared = SCHEDULES[name]
    return alpha(t), beta_squared(t).sqrt()


# What holds for every exact field.


@every_path
@every_field
@pytest.mark.parametrize("labelled", [False, True], ids=["all", "labels"])
def test_the_score_is_the_gradient_of_the_log_density(name, make, labelled):
    field = make(name)
    x, y = states(field, 25).requires_grad_(), torch.arange(25) % 4 - 1 if labelled else None
    (gradient,) = torch.autograd.grad(field.log_prob(x, inside, y).sum(), x)
    torch.testing.assert_close(field.score(x, inside, y), gradient, rtol=1e-8, atol=1e-8)


@every_path
@every_field
def test_density_and_velocity_satisfy_the_continuity_equation(name, make):
    """d/dt log p + u . grad log p + div u = 0, by central differences in t and autograd in x.

    The differences are off by h^2 |f'''| / 6: f''' grows as 1/beta^5 where points are told apart, so times end at 0.8.
    """
    field, t, h = make(name), torch.linspace(0.05, 0.8, 25, dtype=torch.float64), 1e-5
    x = states(field, 25).requires_grad_()
    in_time = (field.log_prob(x, t + h) - field.log_prob(x, t - h)) / (2 * h)
    velocity = field.velocity(x, t)
    rows = [torch.autograd.grad(velocity[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    divergence = sum(row[:, i] for i, row in enumerate(rows))
    transport = (velocity * field.score(x, t)).sum(1)
    torch.testing.assert_close(in_time, -transport - divergence, rtol=1e-5, atol=1e-5)


@every_path
@every_field
def test_the_path_converts_the_fields_into_each_other(name, make):
    """Times near the ends magnify rounding by at most 1 / alpha or 1 / beta, 150 here, and once more for the score."""
    field, x = make(name), states(make(name), 25)
    fields = dict(zip(Quantity, field.predict(x, inside, None, tuple(Quantity)), strict=True))
    for given, wanted in itertools.product(Quantity, Quantity):
        converted = PATHS[name].convert(fields[given], x, inside, given, wanted)
        torch.testing.assert_close(converted, fields[wanted], rtol=1e-9, atol=1e-9)


@every_field
def test_one_time_for_all_is_that_time_for_each(make):
    field, x = make(), states(make(), 5)
    for quantity, t in itertools.product(Quantity, (0.0, 0.3, torch.tensor(0.6))):
        each = torch.full((5,), float(t), dtype=torch.float64)
        (one,), (many,) = (field.predict(x, time, None, (quantity,)) for time in (t, each))
        torch.testing.assert_close(one, many, rtol=1e-7, atol=1e-7)


@every_path
@every_field
@every_type
def test_pure_noise_says_nothing_of_the_data(name, make, dtype):
    """At alpha = 0, D is the mean of the data, N is x / beta, and p_0 is the standard normal."""
    if name == "vp":
        pytest.skip("leaves a trace of the data at t = 0")
    field = make(name)
    x = states(field, 6).to(dtype)
    centre = POINTS.mean(0) if make is finite else WEIGHTS @ MEANS
    rounding = max(torch.finfo(dtype).eps, 1e-13)  # computed in float64, with errors of 1e-14, and rounded once
    tolerance = {"rtol": rounding, "atol": rounding}
    for t in (0.0, torch.zeros(6, dtype=dtype)):
        torch.testing.assert_close(field.denoise(x, t), centre.to(dtype).expand_as(x), **tolerance)
        torch.testing.assert_close(field.score(x, t), -x, **tolerance)
        torch.testing.assert_close(field.log_prob(x, t), GaussianSource().log_prob(x.double()).to(dtype), **tolerance)


@every_path
@every_field
@every_type
def test_at_both_ends_and_next_to_them_every_field_is_finite_or_refused(name, make, dtype):
    field, eps = make(name), torch.finfo(dtype).eps
    x = states(field, 4).to(dtype)
    for t, quantity in itertools.product((0.0, eps, 1e-3, 1 - 1e-3, 1 - eps, 1.0), Quantity):
        regular = make is not finite and not (name == "vp" and quantity is Quantity.VELOCITY)
        for time in (t, torch.full((4,), t, dtype=torch.float64)):
            if t == 1 and not regular and quantity is not Quantity.DATA:
                with pytest.raises(UnsupportedError, match="take times that end before it"):
                    field.predict(x, time, None, (quantity,))
                continue
            (value,) = field.predict(x, time, None, (quantity,))
            assert value.dtype == dtype
            assert value.shape == x.shape
            assert value.isfinite().all()


@every_path
@every_field
@pytest.mark.parametrize("t", [0.0, 0.6, 1.0])
def test_draws_have_the_moments_of_the_marginal(name, make, t):
    field = make(name)
    x = field.sample(50_000, t, generator=seeded()).double()
    alpha, beta = coefficients(name, torch.tensor(t, dtype=torch.float64))
    if make is finite:
        mean, covariance = POINTS.mean(0), POINTS.T.cov(correction=0)
    else:
        mean = WEIGHTS @ MEANS
        spread = MEANS - mean
        within = torch.einsum("k,kij->ij", WEIGHTS, matrices(field.covariances))
        covariance = within + torch.einsum("k,ki,kj->ij", WEIGHTS, spread, spread)
    centred = x - alpha * mean
    products = torch.einsum("ni,nj->nij", centred, centred)
    expected = alpha**2 * covariance + beta**2 * torch.eye(len(mean), dtype=torch.float64)
    assert errors_off(centred, 0) < LIMIT
    assert errors_off(products.flatten(1), expected.flatten()) < LIMIT


def fisher(field, x, t, y=None):
    """Score s and s^2 + ds/dx of every coordinate: of mean 0 under p_t, whatever p_t is (by parts)."""
    x = x.double().requires_grad_()
    score = field.score(x, t, y)
    slopes = [torch.autograd.grad(score[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return torch.cat([score, score.square() + torch.stack(slopes, 1)], 1).detach()


@every_field
def test_draws_follow_the_density(make):
    field = make()
    assert errors_off(fisher(field, field.sample(10_000, 0.6, generator=seeded()), 0.6), 0) < LIMIT
    assert errors_off(fisher(field, field.sample(10_000, 0.5, generator=seeded()), 0.6), 0) > LIMIT


@every_field
def test_labels_of_draws_and_of_fields_mean_the_same(make):
    """E[grad log p_t(x|y)] = 0 for x ~ p_t(.|y), and not for x of other labels."""
    field, n = make(), 20_000
    for label in (0, 1, 2):
        y = torch.full((n,), label)
        assert errors_off(field.score(field.sample(n, 0.6, y, seeded()).double(), 0.6, y), 0) < LIMIT
        assert errors_off(field.score(field.sample(n, 0.6, (y + 1) % 3, seeded()).double(), 0.6, y), 0) > 2 * LIMIT


@every_field
def test_no_label_is_all_labels_and_randomness_is_of_the_generator(make):
    field, x, none = make(), states(make(), 5), torch.full((5,), -1)
    torch.testing.assert_close(field.velocity(x, 0.6, none), field.velocity(x, 0.6))
    torch.testing.assert_close(field.log_prob(x, 0.6, none), field.log_prob(x, 0.6))
    before = torch.get_rng_state()
    assert torch.equal(field.sample(5, 0.6, none, seeded()), field.sample(5, 0.6, generator=seeded()))
    assert torch.equal(torch.get_rng_state(), before)


@every_field
def test_events_of_any_shape_are_vectors_to_it(make):
    field, x = make(), states(make(), 5)
    shape = (1, x.shape[1], 1)
    if make is finite:
        image = FiniteDataField(PATHS["condot"], POINTS.reshape(-1, *shape), LABELS)
    else:
        covariances = field.covariances.reshape(-1, *shape) if field.covariances.ndim == 2 else field.covariances
        image = GaussianMixtureField(PATHS["condot"], MEANS.reshape(-1, *shape), covariances, WEIGHTS)
    pictures = x.reshape(-1, *shape)
    torch.testing.assert_close(image.velocity(pictures, 0.6).flatten(1), field.velocity(x, 0.6))
    torch.testing.assert_close(image.log_prob(pictures, 0.6), field.log_prob(x, 0.6))
    assert image.sample(3, 0.6).shape == (3, *shape)


@every_field
def test_wrong_labels_are_refused(make):
    field, x = make(), states(make(), 2)
    for y, message in [
        (torch.tensor([0, 9]), "labels from 0 to"),
        (torch.tensor([-2, 0]), "or -1 for none"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        ({"y": torch.tensor([0, 1])}, "whole numbers"),
    ]:
        with pytest.raises(UnsupportedError, match=message):
            field.velocity(x, 0.5, y)


@every_field
def test_a_field_moves_and_computes_as_a_module_does_but_has_no_weights(make):
    field = make()
    assert list(field.parameters()) == []
    x = states(field, 3)
    torch.testing.assert_close(field(x, 0.4), field.velocity(x, 0.4))
    assert all(buffer.device.type == "meta" for buffer in field.to("meta").buffers())


def test_only_a_gaussian_path_has_these_fields():
    class Spiral(fk.Path):
        schedule = CondOT()

        def sample(self, x0, z, t, generator=None): ...

        def velocity(self, x, x0, z, t): ...

    for make in (lambda path: FiniteDataField(path, POINTS), lambda path: GaussianMixtureField(path, MEANS, WEIGHTS)):
        with pytest.raises(ValueError, match=r"path must be a Gaussian path.*got Spiral"):
            make(Spiral())


# Finite sets.


def brute_force(name, x, t, y=None):
    """Log density and posterior mean, summed over the points one by one."""
    alpha, beta = coefficients(name, t)
    log_densities = torch.stack(
        [torch.distributions.Normal(alpha[:, None] * z, beta[:, None]).log_prob(x).sum(1) for z in POINTS], dim=1
    )
    if y is not None:
        log_densities[(y[:, None] >= 0) & (y[:, None] != LABELS)] = -math.inf
    count = log_densities.isfinite().double().sum(1)
    return log_densities.logsumexp(1) - count.log(), log_densities.softmax(1) @ POINTS


@every_path
@pytest.mark.parametrize("y", [None, torch.arange(25) % 4 - 1], ids=["all", "labels"])
def test_a_finite_set_agrees_with_brute_force(name, y):
    """|x - alpha z|^2 comes from a product of matrices: 1e-15 |x|^2 is divided by 2 beta^2, 8e-4 at t = 0.98."""
    x = states(finite(), 25)
    log_prob, data = brute_force(name, x, inside, y)
    torch.testing.assert_close(finite(name).log_prob(x, inside, y), log_prob, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(finite(name).denoise(x, inside, y), data, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 40, 300])
def test_going_through_the_points_in_parts_changes_nothing(size, monkeypatch):
    """Parts of one, of eight and of all points, in an order in which nearer ones are found late."""
    x, y = states(finite(), 5), torch.tensor([-1, 0, 1, 2, 0])
    order = torch.cdist(x[:1], POINTS)[0].argsort(descending=True)
    field = FiniteDataField(PATHS["condot"], POINTS[order], LABELS[order])
    times = torch.tensor([0.0, 0.3, 0.9, 0.999, 0.5], dtype=torch.float64)
    for labels in (None, y):
        whole = field.log_prob(x, times, labels), *field.predict(x, times, labels, tuple(Quantity))
        nearest = field.denoise(x, 1.0, labels)
        with monkeypatch.context() as patch:
            patch.setattr("flowkit_exact.finite_data.PART", size)
            parts = field.log_prob(x, times, labels), *field.predict(x, times, labels, tuple(Quantity))
            assert torch.equal(field.denoise(x, 1.0, labels), nearest)
        for one, other in zip(parts, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_the_parts_keep_memory_bounded(monkeypatch):
    monkeypatch.setattr("flowkit_exact.finite_data.PART", 64)
    x = states(finite(), 16)
    sizes = [len(points) for points, _ in finite()._parts(x, None)]
    assert max(sizes) * 16 <= 64
    assert sum(sizes) == 40


@every_path
@every_type
def test_at_the_data_a_point_is_itself_and_anything_else_its_nearest_point(name, dtype):
    """And it is the limit: at t = 1 - 1e-6 the weights of other points are exp(-1e4) or less."""
    field, x = finite(name), states(finite(), 10).to(dtype)
    nearest = POINTS[torch.cdist(x.double(), POINTS).argmin(1)].to(dtype)
    assert torch.equal(field.denoise(x, 1.0), nearest)
    torch.testing.assert_close(field.denoise(x, 1 - 1e-6), nearest)
    assert torch.equal(field.denoise(POINTS, 1.0), POINTS)


def test_of_several_nearest_points_the_data_have_the_mean():
    field = FiniteDataField(PATHS["condot"], torch.tensor([[-1.0], [1.0], [5.0]]))
    assert torch.equal(field.denoise(torch.zeros(1, 1), 1.0), torch.zeros(1, 1))


def test_a_finite_set_has_no_density_at_the_data():
    with pytest.raises(UnsupportedError, match="has no density at this time"):
        finite().log_prob(POINTS, 1.0)


def test_labels_that_no_point_has_and_labels_of_an_unlabelled_set_are_refused():
    x = torch.zeros(2, 2)
    with pytest.raises(UnsupportedError, match=r"labels that no point has: \[1\]"):
        FiniteDataField(PATHS["condot"], POINTS[:2], torch.tensor([0, 2])).velocity(x, 0.5, torch.tensor([0, 1]))
    with pytest.raises(UnsupportedError, match="this finite set has no labels"):
        finite(labels=None).velocity(x, 0.5, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (torch.zeros(0, 2), None, "n at least 1"),
        (torch.zeros(3), None, r"shape \(n, \*event\)"),
        (POINTS, LABELS[:3], "40 whole numbers"),
        (POINTS, LABELS - 1, "whole numbers 0, 1"),
    ],
)
def test_points_and_labels_that_do_not_fit_are_refused(points, labels, message):
    with pytest.raises(ValueError, match=message):
        FiniteDataField(PATHS["condot"], points, labels)


def test_its_flow_ends_in_the_points_and_reaches_all_of_them():
    """Midpoint's last step starts at t = 1 - h with the posterior mean, which has a point for its limit."""
    x = fk.sample(finite(), normal(2000, 2), integrator=Midpoint(), steps=100)
    nearest = torch.cdist(x, POINTS).min(1)
    assert nearest.values.max() < 0.05
    assert len(nearest.indices.unique()) == 40


def test_the_points_of_a_data_source_are_those_a_model_sees():
    moons = fk.create("data", "moons", labels=True)
    field = fk.create("field", "finite_data", path="gaussian", data={"name": "moons", "labels": True}, draws=50, seed=3)
    z, y = moons.draw(50, seeded(3))
    assert torch.equal(field.points, moons.normalization.normalize(z))
    assert torch.equal(field.labels, y)
    data = fk.InMemory(POINTS, LABELS)
    whole = fk.create("field", "finite_data", path="gaussian", data=data)
    assert torch.equal(whole.points, data.normalization.normalize(POINTS))


# Mixtures.


@every_path
@pytest.mark.parametrize("quantity", Quantity)
def test_an_isotropic_mixture_agrees_with_the_oracle(name, quantity):
    oracle = mixture(name)
    field = GaussianMixtureField(PATHS[name], oracle.means, oracle.stds.square(), oracle.weights)
    x, y = 2 * normal(25, 2), torch.arange(25) % 4 - 1
    for labels in (None, y):
        (found,), (expected,) = (of.predict(x, inside, labels, (quantity,)) for of in (field, oracle))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        found, expected = (of.log_prob(x, inside, labels) for of in (field, oracle))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_path
@every_type
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_an_isotropic_mixture_has_the_limits_of_the_oracle(name, dtype, t):
    """Computed in float64 and rounded once."""
    oracle, x = mixture(name), (2 * normal(25, 2)).to(dtype)
    field = GaussianMixtureField(PATHS[name], oracle.means, oracle.stds.square(), oracle.weights)
    tolerance = {"rtol": torch.finfo(dtype).eps, "atol": 1e-9}
    torch.testing.assert_close(field.log_prob(x, t), oracle.log_prob(x, t).to(dtype), **tolerance)
    for quantity in Quantity:
        if not (name == "vp" and t == 1 and quantity is Quantity.VELOCITY):
            (found,), (expected,) = (of.predict(x, t, None, (quantity,)) for of in (field, oracle))
            torch.testing.assert_close(found, expected, **tolerance)


@pytest.mark.parametrize("form", COVARIANCES)
def test_the_density_of_a_mixture_is_that_of_torch(form):
    components = torch.distributions.MultivariateNormal(MEANS, matrices(COVARIANCES[form]))
    theirs = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(WEIGHTS), components)
    x = 1.5 * normal(20, 3)
    torch.testing.assert_close(mixed(form=form).log_prob(x), theirs.log_prob(x), rtol=1e-10, atol=1e-10)


def test_the_three_forms_of_a_covariance_agree():
    variances = COVARIANCES["isotropic"]
    forms = [variances, variances[:, None].expand(4, 3), torch.diag_embed(variances[:, None].expand(4, 3))]
    one, *others = (GaussianMixtureField(PATHS["condot"], MEANS, form, WEIGHTS) for form in forms)
    x = 1.5 * normal(25, 3)
    for other in others:
        for a, b in zip(*(f.predict(x, inside, None, tuple(Quantity)) for f in (one, other)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_mixture_of_narrow_components_tends_to_the_finite_set():
    """D differs by O(variance alpha^2 / beta^2), 1e-8 here."""
    narrow = GaussianMixtureField(PATHS["condot"], POINTS, torch.full((40,), 1e-9, dtype=torch.float64))
    x = states(finite(), 25)
    t = torch.linspace(0, 0.7, 25, dtype=torch.float64)
    torch.testing.assert_close(narrow.denoise(x, t), finite().denoise(x, t), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["condot", "cosine"])
@pytest.mark.parametrize("form", COVARIANCES)
def test_the_likelihood_of_the_flow_is_the_density_of_the_mixture(name, form):
    """RK4 errs by a multiple of h^4 = 2e-7. (The vp path does not start from N(0, I) exactly.)"""
    field = mixed(name, form)
    x, times = field.sample(20, 1.0, generator=seeded()), torch.linspace(0, 1, 51)
    found = fk.log_prob(field, x, source=GaussianSource(), integrator=RK4(), times=times)
    torch.testing.assert_close(found, field.log_prob(x), rtol=0, atol=1e-3)


ODE = {"integrator": RK4(), "steps": 20}
SDE = {"integrator": EulerMaruyama(), "diffusion": BetaDiffusion(), "steps": 200}


@pytest.mark.parametrize(
    ("settings", "y"), [(ODE, None), (ODE, torch.arange(5000) % 4), (SDE, None)], ids=["ode", "ode-labels", "sde"]
)
def test_sampling_carries_noise_to_the_mixture(settings, y):
    """Tested by E[s] = 0 and E[s^2 + ds/dx] = 0 under p_1. The steps' errors, largest 1/200, are below a standard error
    of about 1/70.
    """
    field = mixed()
    x = fk.sample(field, normal(5000, 3), y, generator=seeded(1), **settings)
    assert errors_off(fisher(field, x, 1.0, y), 0) < LIMIT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"covariances": [1.0, 0.0, 1.0, 1.0]}, "component 1 is not: the least variance is 0"),
        ({"covariances": -COVARIANCES["full"]}, "must be positive definite"),
        ({"covariances": ROOTS}, "symmetric"),
        ({"covariances": torch.ones(3)}, r"must have shape \(4,\), \(4, 3\) or \(4, 3, 3\)"),
        ({"weights": [1.0, 1.0, -1.0, 1.0]}, "4 positive numbers"),
        ({"weights": [1.0]}, "4 positive numbers"),
        ({"means": torch.ones(4)}, r"shape \(K, \*event\)"),
    ],
)
def test_a_mixture_that_is_none_is_refused(settings, message):
    given = {"means": MEANS, "covariances": COVARIANCES["full"], "weights": WEIGHTS} | settings
    with pytest.raises(ValueError, match=message):
        GaussianMixtureField(PATHS["condot"], **given)


def test_weights_count_up_to_a_factor_and_are_equal_by_default():
    covariances, x = COVARIANCES["full"], 1.5 * normal(5, 3)
    scaled = GaussianMixtureField(PATHS["condot"], MEANS, covariances, 10 * WEIGHTS)
    torch.testing.assert_close(scaled.log_prob(x), mixed().log_prob(x))
    plain, equal = (GaussianMixtureField(PATHS["condot"], MEANS, covariances, w) for w in (None, [2.0] * 4))
    torch.testing.assert_close(plain.log_prob(x), equal.log_prob(x))


# By name, and with the data source that matches.

SETTINGS = {"means": [[-2.0, 0.0], [1.0, 1.0]], "covariances": [[[1.0, 0.5], [0.5, 0.6]], [[0.3, 0.0], [0.0, 0.2]]]}


def test_the_field_of_a_mixture_is_made_from_the_settings_of_its_data():
    data = fk.create("data", "gaussian_mixture", weights=[1, 3], labels=True, **SETTINGS)
    field = fk.create("field", "gaussian_mixture", path="gaussian", weights=[1, 3], **SETTINGS)
    z, y = data.draw(20_000, seeded())
    assert data.spec.num_classes == 2
    assert errors_off(field.score(z.double(), 1.0), 0) < LIMIT
    assert errors_off(field.score(z.double(), 1.0, y), 0) < LIMIT
    assert errors_off((y == 1).double()[:, None], 0.75) < LIMIT


@pytest.mark.parametrize("covariances", [[1.0, 0.5], [[1.0, 0.2], [0.5, 0.3]]], ids=["isotropic", "diagonal"])
def test_the_data_source_takes_the_forms_of_covariance_that_the_field_takes(covariances):
    data = GaussianMixture(SETTINGS["means"], covariances)
    field = GaussianMixtureField(PATHS["condot"], SETTINGS["means"], covariances)
    z = data.draw(20_000, seeded()).z.double().requires_grad_()
    assert errors_off(field.score(z, 1.0).detach(), 0) < LIMIT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"means": [[0.0], [1.0, 2.0]]}, "gaussian_mixture"),
        ({"means": []}, "K lists of d numbers"),
        ({"covariances": [1.0]}, r"must have shape \(2,\)"),
        ({"covariances": [1.0, -1.0]}, "positive"),
        ({"weights": [1.0, 0.0]}, "2 positive numbers"),
    ],
)
@pytest.mark.parametrize("kind", ["data", "field"])
def test_settings_of_a_mixture_that_do_not_fit_are_refused_by_name(kind, settings, message):
    path = {"path": "gaussian"} if kind == "field" else {}
    if kind == "field" and settings.get("means") == []:
        message = "K at least 1"
    with pytest.raises(fk.ConfigError, match=message):
        fk.create(kind, "gaussian_mixture", **path, **(SETTINGS | settings))
