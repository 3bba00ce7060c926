"""Two-sided paths: ends, fields, marginals between two mixtures, conversions, and what other packages compute."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.source import GaussianSource
from flowkit_heads.heads import JointHead, NoiseHead
from flowkit_interpolants.paths import BrownianBridge, EncodingDecoding, Linear, Trigonometric
from flowkit_losses.csm import ConditionalScoreMatching
from flowkit_losses.joint import JointMatching
from flowkit_losses.prediction import NoisePrediction
from flowkit_losses.weightings import NoiseVarianceWeighting
from oracles import LIMIT, errors_off, seeded

from flowkit import Model, Pipeline, Quantity, Source, TimeSampler, UnsupportedError

PATH = {
    f"{cls.__name__} {gamma}": cls(gamma, 0.7)
    for cls in (Linear, Trigonometric, EncodingDecoding)
    for gamma in ("none", "constant", "brownian", "quadratic", "sine_squared")
    if (cls, gamma) != (EncodingDecoding, "none")
} | {"BrownianBridge": BrownianBridge(0.7)}
NOISY = [name for name in PATH if PATH[name].has_score]
every_path = pytest.mark.parametrize("name", PATH)
every_noisy_path = pytest.mark.parametrize("name", NOISY)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
inside = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
PAIRS = [(given, wanted) for given in Quantity for wanted in Quantity if given is not wanted]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


class Inside(TimeSampler):
    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        return inside


def slope(function, t):
    t = t.clone().requires_grad_()
    return torch.autograd.grad(function(t).sum() + 0 * t.sum(), t)[0]  # a constant has the derivative 0


GAMMA = {
    "none": lambda t: 0 * t,
    "constant": lambda t: 0.7 + 0 * t,
    "brownian": lambda t: torch.sqrt(0.49 * t * (1 - t)),
    "quadratic": lambda t: 0.7 * t * (1 - t),
    "sine_squared": lambda t: 0.7 * torch.sin(math.pi * t) ** 2,
}
MEAN = {  # alpha and beta
    Linear: (lambda t: t, lambda t: 1 - t),
    BrownianBridge: (lambda t: t, lambda t: 1 - t),
    Trigonometric: (lambda t: torch.sin(math.pi * t / 2), lambda t: torch.cos(math.pi * t / 2)),
    EncodingDecoding: (
        lambda t: torch.cos(math.pi * t) ** 2 * (t > 0.5),
        lambda t: torch.cos(math.pi * t) ** 2 * (t < 0.5),
    ),
}


class TwoMixtures:
    """The exact marginal fields between two independent mixtures of two isotropic Gaussians each.

    Within a pair of components (z, x0, eps, x_t) is jointly Gaussian, so the mean of each given x_t = x is linear in x.
    """

    def __init__(self, path):
        self.alpha, self.beta = MEAN[type(path)]
        self.gamma = GAMMA[path.gamma]
        self.z = torch.tensor([[2.0, 0.0], [-1.0, 1.0]], dtype=torch.float64), torch.tensor([0.5, 0.75])
        self.x0 = torch.tensor([[0.0, -2.0], [0.5, 2.0]], dtype=torch.float64), torch.tensor([0.625, 1.0])

    def draw(self, which, n, generator):
        means, stds = which
        k = torch.randint(2, (n,), generator=generator)
        return means[k] + stds[k].double()[:, None] * torch.randn(n, 2, generator=generator, dtype=torch.float64)

    def log_joint(self, x, t):
        """Of x and each of the four pairs of components, shape (batch, 4)."""
        alpha, beta, gamma = (function(t)[:, None, None] for function in (self.alpha, self.beta, self.gamma))
        means = alpha * self.z[0][[0, 0, 1, 1]] + beta * self.x0[0][[0, 1, 0, 1]]
        variances = (
            alpha**2 * self.z[1][[0, 0, 1, 1]][:, None] ** 2
            + beta**2 * self.x0[1][[0, 1, 0, 1]][:, None] ** 2
            + gamma**2
        )
        offsets = x[:, None] - means
        log_normal = -0.5 * (offsets**2 / variances + torch.log(2 * math.pi * variances)).sum(2)
        return log_normal - math.log(4), offsets / variances

    def log_prob(self, x, t):
        return self.log_joint(x, t)[0].logsumexp(1)

    def fields(self, x, t):
        """E[z|x], E[x0|x], E[eps|x]."""
        log_joint, scaled = self.log_joint(x, t)
        posterior = log_joint.softmax(1)[..., None]
        alpha, beta, gamma = (function(t)[:, None, None] for function in (self.alpha, self.beta, self.gamma))
        z = self.z[0][[0, 0, 1, 1]] + alpha * self.z[1][[0, 0, 1, 1]][:, None] ** 2 * scaled
        x0 = self.x0[0][[0, 1, 0, 1]] + beta * self.x0[1][[0, 1, 0, 1]][:, None] ** 2 * scaled
        return tuple((posterior * value).sum(1) for value in (z, x0, gamma * scaled))

    def velocity(self, x, t):
        slopes = (slope(function, t)[:, None] for function in (self.alpha, self.beta, self.gamma))
        return sum(rate * mean for rate, mean in zip(slopes, self.fields(x, t), strict=True))

    def score(self, x, t):
        return slope(lambda x: self.log_prob(x, t), x)


# The conditional path.


@every_path
@every_dtype
def test_a_path_goes_from_x0_to_z(name, dtype):
    x0, z, path = normal(4, 2).to(dtype), normal(4, 2, seed=1).to(dtype), PATH[name]
    blur = 0.7 * torch.randn(4, 2, generator=seeded(3), dtype=dtype) if path.gamma == "constant" else 0
    for t, end in ((torch.zeros(4, dtype=dtype), x0), (torch.ones(4, dtype=dtype), z)):
        torch.testing.assert_close(path.sample(x0, z, t, seeded(3)), end + blur)


@every_path
def test_the_coefficients_are_those_of_the_paper(name):
    path, x0, z = PATH[name], normal(25, 2), normal(25, 2, seed=1)
    alpha, beta = (function(inside)[:, None] for function in MEAN[type(path)])
    gamma = GAMMA[path.gamma](inside)[:, None]
    noise = torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    expected = alpha * z + beta * x0 + gamma * noise
    torch.testing.assert_close(path.sample(x0, z, inside, seeded(2)), expected, rtol=1e-12, atol=1e-12)


@every_path
def test_the_conditional_velocity_is_the_time_derivative_of_the_flow(name):
    """With the noise held fixed; to rounding, so that no share of it is lost among the other terms."""
    path, x0, z = PATH[name], normal(25, 2), normal(25, 2, seed=1)
    noise = torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    coefficients = [slope(function, inside)[:, None] for function in (*MEAN[type(path)], GAMMA[path.gamma])]
    expected = sum(rate * end for rate, end in zip(coefficients, (z, x0, noise), strict=True))
    found = path.velocity(path.sample(x0, z, inside, seeded(2)), x0, z, inside)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_noisy_path
def test_the_conditional_score_is_the_gradient_of_the_log_density(name):
    path, x0, z = PATH[name], normal(25, 2), normal(25, 2, seed=1)
    x = path.sample(x0, z, inside, seeded(2))
    alpha, beta = (function(inside)[:, None] for function in MEAN[type(path)])
    density = torch.distributions.Normal(alpha * z + beta * x0, GAMMA[path.gamma](inside)[:, None])
    torch.testing.assert_close(path.score(x, x0, z, inside), slope(density.log_prob, x), rtol=1e-9, atol=1e-9)


@every_path
@pytest.mark.parametrize("one", [float, torch.tensor], ids=["number", "tensor"])
def test_one_time_for_all_stands_for_the_same_time_for_each(name, one):
    path, x0, z, t = PATH[name], normal(5, 2), normal(5, 2, seed=1), torch.full((5,), 0.3, dtype=torch.float64)
    one = one(0.3) if one is float else one(0.3, dtype=torch.float64)
    x = path.sample(x0, z, t, seeded())
    torch.testing.assert_close(path.sample(x0, z, one, seeded()), x)
    torch.testing.assert_close(path.velocity(x, x0, z, one), path.velocity(x, x0, z, t))
    if path.has_score:
        torch.testing.assert_close(path.score(x, x0, z, one), path.score(x, x0, z, t))


def test_without_noise_there_is_no_score_and_no_random_number():
    path, before = PATH["Linear none"], torch.get_rng_state()
    assert not path.has_score
    path.sample(normal(4, 2), normal(4, 2, seed=1), inside[:4])
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UnsupportedError, match="Linear has no score without noise"):
        path.score(normal(4, 2), normal(4, 2), normal(4, 2), inside[:4])


@every_path
@every_dtype
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_at_the_ends_a_field_is_the_limit_or_refused(name, dtype, end):
    """Brownian and quadratic gammas are 0 there with another slope: x does not tell which way the noise will push."""
    path, t = PATH[name], torch.full((4,), end, dtype=dtype)
    x0, z = normal(4, 2).to(dtype), normal(4, 2, seed=1).to(dtype)
    x = path.sample(x0, z, t, seeded())
    if path.gamma in ("brownian", "quadratic"):
        with pytest.raises(UnsupportedError, match=r"the velocity is not determined.*where gamma is 0 and its"):
            path.velocity(x, x0, z, t)
    else:
        found = path.velocity(x, x0, z, t)
        along = {Linear: z - x0, Trigonometric: (z if end == 0 else -x0) * math.pi / 2, EncodingDecoding: 0 * x}
        assert found.dtype == dtype
        torch.testing.assert_close(found, along[type(path)], rtol=0, atol=10 * torch.finfo(dtype).eps)
    if path.gamma == "constant":
        assert path.score(x, x0, z, t).isfinite().all()
    elif path.has_score:
        with pytest.raises(UnsupportedError, match=r"the score is not determined.*where gamma is 0"):
            path.score(x, x0, z, t)


@every_path
@every_dtype
def test_next_to_the_ends_and_in_the_middle_everything_is_finite(name, dtype):
    path, eps = PATH[name], torch.finfo(dtype).eps
    t = torch.tensor([eps, 0.01, 0.5, 0.99, 1 - eps], dtype=dtype)
    x0, z = normal(5, 2).to(dtype), normal(5, 2, seed=1).to(dtype)
    x = path.sample(x0, z, t, seeded())
    for found in (x, path.velocity(x, x0, z, t), *([path.score(x, x0, z, t)] if path.has_score else [])):
        assert found.dtype == dtype
        assert found.isfinite().all()


# Marginals.


@every_path
def test_velocity_and_density_of_the_oracle_satisfy_the_continuity_equation(name):
    """d/dt log p + u . grad log p + div u = 0; central differences are off by h^2 |f'''| / 6 + 1e-15 / h << 1e-6.
    The mean of encoding and decoding has a jump in its curvature at t = 1/2, which is left out.
    """
    oracle, t, h = TwoMixtures(PATH[name]), inside[inside != 0.5], 1e-5
    x = 1.5 * normal(len(t), 2)
    in_time = (oracle.log_prob(x, t + h) - oracle.log_prob(x, t - h)) / (2 * h)
    divergence = sum(
        (oracle.velocity(x + shift, t) - oracle.velocity(x - shift, t))[:, i] / (2 * h)
        for i, shift in enumerate(h * torch.eye(2, dtype=torch.float64))
    )
    transport = (oracle.velocity(x, t) * oracle.score(x, t)).sum(1)
    torch.testing.assert_close(in_time, -transport - divergence, rtol=1e-6, atol=1e-6)


@every_path
def test_the_marginal_fields_are_the_posterior_means_of_the_conditional_ones(name):
    """E[u_t(x|x0, z) | x_t = x] = u_t(x), tested as E[(u_t(x|x0, z) - u_t(x)) f(x)] = 0 for several f; so the score."""
    path, oracle, n, generator = PATH[name], TwoMixtures(PATH[name]), 20_000, seeded()
    z, x0 = oracle.draw(oracle.z, n, generator), oracle.draw(oracle.x0, n, generator)
    t = 0.05 + 0.9 * torch.rand(n, generator=generator, dtype=torch.float64)
    x = path.sample(x0, z, t, generator)
    tests = torch.stack([torch.ones(n), x[:, 0], x[:, 1], x[:, 0].square(), t * x[:, 0], x[:, 0].tanh()], dim=1)
    fields = [(path.velocity, oracle.velocity), *([(path.score, oracle.score)] if path.has_score else [])]
    for conditional, marginal in fields:
        excess = conditional(x, x0, z, t) - marginal(x, t)
        assert errors_off(torch.einsum("ni,nj->nij", excess, tests), 0) < LIMIT


# Conversions.


@every_path
@pytest.mark.parametrize("t", [0.1, 0.6, inside], ids=["early", "late", "a batch"])
def test_conversions_are_those_of_the_oracle_and_no_others_are_claimed(name, t):
    path, oracle, x = PATH[name], TwoMixtures(PATH[name]), normal(25, 2)
    times = t if isinstance(t, torch.Tensor) else torch.full((25,), t, dtype=torch.float64)
    data, _, noise = oracle.fields(x, times)
    known = {
        Quantity.DATA: data,
        Quantity.NOISE: noise,
        Quantity.SCORE: oracle.score(x, times),
        Quantity.VELOCITY: oracle.velocity(x, times),
    }
    claimed = {pair for pair in PAIRS if path.can_convert(*pair)}
    either = (Quantity.NOISE, Quantity.SCORE) if path.has_score else (Quantity.VELOCITY, Quantity.DATA)
    assert claimed == {either, either[::-1]}
    for given, wanted in PAIRS:
        if (given, wanted) in claimed:
            found = path.convert(known[given], x, t, given, wanted)
            torch.testing.assert_close(found, known[wanted], rtol=1e-9, atol=1e-9)
        else:
            with pytest.raises(UnsupportedError, match=f"cannot turn a {given.value} into a {wanted.value}"):
                path.convert(x, x, t, given, wanted)


@every_path
@every_dtype
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_conversion_at_an_end_is_the_limit_or_refused(name, dtype, end):
    path, value, x = PATH[name], normal(3, 2).to(dtype), normal(3, 2, seed=1).to(dtype)
    refused = {Quantity.SCORE} if path.gamma != "constant" else set()
    if not path.has_score:
        refused = {Quantity.VELOCITY} if end == 1 else set()  # x = z says nothing of x0
    for given, wanted in (pair for pair in PAIRS if path.can_convert(*pair)):
        for t in (end, torch.full((3,), end, dtype=dtype)):
            if wanted in refused:
                with pytest.raises(UnsupportedError, match="is not determined at this time"):
                    path.convert(value, x, t, given, wanted)
            else:
                found = path.convert(value, x, t, given, wanted)
                assert found.dtype == dtype
                assert found.isfinite().all()
    if not path.has_score and end == 1:
        assert torch.equal(path.convert(value, x, 1.0, Quantity.VELOCITY, Quantity.DATA), x)


# With the other parts.


def test_any_source_will_do():
    class Other(Source):
        def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32): ...

    for path in PATH.values():
        assert path.compatible_source(Other()) is path.compatible_source(GaussianSource()) is None


def test_a_path_through_nothing_is_refused():
    with pytest.raises(ValueError, match="gamma must not be 'none'"):
        EncodingDecoding("none")


def test_the_variance_of_the_noise_makes_score_matching_the_prediction_of_the_noise():
    path, x0, z, weighting = PATH["BrownianBridge"], normal(25, 2), normal(25, 2, seed=1), NoiseVarianceWeighting()
    x, noise = path.sample(x0, z, inside, seeded(2)), torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    weighted = weighting.weight(inside, path)[:, None] * path.score(x, x0, z, inside).square()
    torch.testing.assert_close(weighted, noise.square())
    assert weighting.problems(path) == weighting.problems(GaussianPath()) == []


@every_noisy_path
def test_the_losses_of_a_score_fit_a_two_sided_path_as_they_are(name):
    """Their default weighs by the variance of the noise: the error of a prediction of 0 is then that of the noise."""

    class Nothing(torch.nn.Module):
        def forward(self, x, t, y=None):
            return torch.zeros_like(x).repeat(1, 2)

    path, x0, z = PATH[name], normal(25, 2), normal(25, 2, seed=1)
    assert NoiseVarianceWeighting().weight(inside, path).sqrt().allclose(GAMMA[path.gamma](inside))
    for loss in (ConditionalScoreMatching(Inside()), JointMatching(Inside())):
        assert not any("weighting" in problem for problem in loss.problems(Model(Nothing(), JointHead(), path)))
    model = Model(Nothing(), JointHead(), path)
    noise = torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    loss = ConditionalScoreMatching(Inside())(model, x0, z, generator=seeded(2))
    torch.testing.assert_close(loss, noise.square().mean(1), rtol=1e-9, atol=1e-9)


def test_the_variance_of_the_noise_is_no_weight_without_noise():
    (problem,) = NoiseVarianceWeighting().problems(PATH["Linear none"])
    assert problem == "weighting 'noise_variance' needs noise, and Linear has none of its own"


@every_noisy_path
def test_the_loss_noise_regresses_the_noise_of_the_path_itself(name):
    """The eps that `sample` draws, not x0, which need not be noise: its mean is -gamma times the score."""

    class Nothing(torch.nn.Module):
        def forward(self, x, t, y=None):
            return torch.zeros_like(x)

    x0, z, model = 5 + normal(25, 2), normal(25, 2, seed=1), Model(Nothing(), NoiseHead(), PATH[name])
    assert NoisePrediction().problems(model) == []
    noise = torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    loss = NoisePrediction(Inside())(model, x0, z, generator=seeded(2))
    torch.testing.assert_close(loss, noise.square().mean(1), rtol=1e-9, atol=1e-9)


def test_the_loss_noise_is_refused_on_a_two_sided_path_without_noise():
    model = Model(torch.nn.Identity(), NoiseHead(), PATH["Linear none"])
    assert NoisePrediction().problems(model) == ["needs noise, and Linear has none of its own"]


SETTINGS = {
    "linear": {"gamma": "none", "scale": 1.0},
    "trigonometric": {"gamma": "none", "scale": 1.0},
    "encoding_decoding": {"gamma": "sine_squared", "scale": 1.0},
    "brownian_bridge": {"sigma": 1.0},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_pipeline_trains_and_samples_on_it(tiny, tmp_path, name):
    pipeline = tiny.path(name).build().fit(tmp_path / "run")
    assert Pipeline.load(tmp_path / "run", device="cpu").sample(32).isfinite().all()
    assert pipeline.config["path"] == {"name": name} | SETTINGS[name]


def test_a_schrodinger_bridge_learns_velocity_and_score_and_samples_its_sde(tiny):
    score = {"name": "joint", "score_weighting": "noise_variance"}
    pipeline = tiny.path("brownian_bridge", sigma=0.5).head("joint").from_config({"loss": score}).build()
    x = pipeline.sample(32, integrator="euler_maruyama", diffusion={"name": "constant", "value": 0.5})
    assert x.isfinite().all()


# Peers.


@pytest.mark.parametrize(
    ("path", "theirs", "sigma"),
    [
        (Linear(), "ConditionalFlowMatcher", 0.0),
        (Linear("constant", 0.3), "ConditionalFlowMatcher", 0.3),
        (Trigonometric("constant", 0.3), "VariancePreservingConditionalFlowMatcher", 0.3),
        (BrownianBridge(0.3), "SchrodingerBridgeConditionalFlowMatcher", 0.3),
    ],
    ids=["independent", "independent with noise", "variance preserving", "bridge"],
)
def test_states_and_targets_are_those_of_torchcfm(path, theirs, sigma):
    matchers = pytest.importorskip("torchcfm.conditional_flow_matching")
    matcher = getattr(matchers, theirs)(sigma=sigma)
    x0, z = normal(25, 2), normal(25, 2, seed=1)
    noise = torch.randn(25, 2, generator=seeded(2), dtype=torch.float64)
    x = path.sample(x0, z, inside, seeded(2))
    torch.testing.assert_close(x, matcher.sample_xt(x0, z, inside, noise), rtol=1e-6, atol=1e-6)
    expected = matcher.compute_conditional_flow(x0, z, inside, x)
    torch.testing.assert_close(path.velocity(x, x0, z, inside), expected, rtol=1e-6, atol=2e-6)  # they add 1e-8 to t
    if isinstance(path, BrownianBridge):  # lambda_t score = -eps with lambda_t = sigma^2 / 2 times theirs
        weight = matcher.compute_lambda(inside)[:, None] * 0.3**2 / 2
        torch.testing.assert_close(weight * path.score(x, x0, z, inside), -noise, rtol=1e-6, atol=1e-6)


def test_states_and_targets_are_those_of_flow_matching():
    module = pytest.importorskip("flow_matching.path")
    x0, z = normal(25, 2), normal(25, 2, seed=1)
    for path, scheduler in [(Linear(), "CondOTScheduler"), (Trigonometric(), "CosineScheduler")]:
        sample = module.AffineProbPath(getattr(module.scheduler, scheduler)()).sample(x0, z, inside)
        x = path.sample(x0, z, inside)
        torch.testing.assert_close(x, sample.x_t, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(path.velocity(x, x0, z, inside), sample.dx_t, rtol=1e-6, atol=1e-6)
