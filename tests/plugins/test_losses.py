"""The losses: conditional and marginal regression have one gradient; equivalences; values; what goes together."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.edm import EDMHead
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead, VHead
from flowkit_losses.cfm import ConditionalFlowMatching, FlowMatching
from flowkit_losses.csm import ConditionalScoreMatching, ScoreMatching
from flowkit_losses.distances import huber, pseudo_huber, squared
from flowkit_losses.joint import JointMatching
from flowkit_losses.prediction import DataPrediction, EDMLoss, NoisePrediction
from flowkit_losses.times import LogNormalTime, UniformTime
from flowkit_losses.weightings import (
    EDMWeighting,
    LikelihoodWeighting,
    MinSNRWeighting,
    NoiseVarianceWeighting,
    SigmoidWeighting,
    SNRWeighting,
    UnitWeighting,
    VelocityWeighting,
)
from oracles import LIMIT, SCHEDULES, GaussianMixture, Wide, errors_off, mixture, seeded, standard_errors
from torch import nn

import flowkit as fk
from flowkit import Model, Path, Predictor, Quantity, TimeSampler, Weighting
from flowkit.config.files import parse_yaml

SCHEDULE = {"condot": CondOT(), "cosine": Cosine(), "vp": VariancePreserving()}


class At(TimeSampler):
    """The times it is given."""

    def __init__(self, t):
        self.t = t

    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        assert len(self.t) == n
        return self.t.to(device, dtype)


class Small(nn.Module):
    """Two layers on (x, t), the same for the same seed."""

    def __init__(self, seed=0, outputs=1, dtype=torch.float64):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8, dtype=dtype), nn.Linear(8, 2 * outputs, dtype=dtype)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=seeded(seed), dtype=dtype)

    def forward(self, x, t, y=None):
        return self.last(torch.tanh(self.first(torch.cat([x, t[:, None]], dim=1))))


class Constant(nn.Module):
    """The same output everywhere."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, x, t, y=None):
        return self.values.expand(len(x), -1)


class Three(Weighting):
    def weight(self, t, path):
        return 3 * torch.ones_like(t)


class OfData(Three):
    of = Quantity.DATA


class NoScore(Path):
    """Straight lines between the points of any two distributions: a velocity and no more."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, t[:, None])

    def velocity(self, x, x0, z, t):
        return z - x0


# Which loss, the head that predicts what it regresses, the exact marginal field, lambda(t) from alpha and beta^2.
MATCHING = {
    "flow": (ConditionalFlowMatching, VelocityHead(), Quantity.VELOCITY, lambda beta_squared: 1.0),
    "score": (ConditionalScoreMatching, ScoreHead(), Quantity.SCORE, lambda beta_squared: beta_squared),
    "noise": (NoisePrediction, NoiseHead(), Quantity.NOISE, lambda beta_squared: 1.0),
    "data": (DataPrediction, DataHead(), Quantity.DATA, lambda beta_squared: 1.0),
}
every_matching = pytest.mark.parametrize("matching", MATCHING)
every_schedule = pytest.mark.parametrize("name", ["condot", "cosine"])


def finite_set(name):
    """Five points, which are a mixture without widths."""
    points = [[-2.0, 0.0], [1.0, 1.5], [1.5, -1.0], [0.0, 2.0], [-1.0, -1.5]]
    return GaussianMixture(points, [0.0] * 5, [0.2] * 5, name)


ORACLES = {"mixture": mixture, "finite_set": finite_set}
every_oracle = pytest.mark.parametrize("oracle", ORACLES)


class Problem:
    """A batch, the package's conditional loss on it, and the marginal loss written here against the oracle."""

    def __init__(self, matching, name, n, seed=0, oracle="mixture"):
        self.loss, self.head, self.quantity, self.weight = MATCHING[matching]
        self.path, self.oracle, self.name = GaussianPath(SCHEDULE[name]), ORACLES[oracle](name), name
        generator = seeded(seed)
        self.x0, self.z = self.oracle.pairs(n, generator)
        self.t = 0.02 + 0.96 * torch.rand(n, generator=generator, dtype=torch.float64)
        alpha, self.beta_squared = (function(self.t) for function in SCHEDULES[name])
        self.x = alpha[:, None] * self.z + self.beta_squared.sqrt()[:, None] * self.x0
        self.exact = self.oracle.predict(self.x, self.t, None, (self.quantity,))[0]

    def target(self):
        """The conditional field whose mean is the marginal one."""
        fields = {Quantity.NOISE: self.x0, Quantity.DATA: self.z}
        if self.quantity in fields:
            return fields[self.quantity]
        field = self.path.velocity if self.quantity is Quantity.VELOCITY else self.path.score
        return field(self.x, self.x0, self.z, self.t)

    def conditional(self, network, part=slice(None)):
        """What the package computes."""
        loss = self.loss(time=At(self.t[part]))
        return loss(Model(network, self.head, self.path), self.x0[part], self.z[part])

    def marginal(self, network, part=slice(None)):
        """lambda(t) |f_theta(x_t) - f_t(x_t)|^2 with the exact marginal field f."""
        error = network(self.x[part], self.t[part]) - self.exact[part]
        return self.weight(self.beta_squared[part]) * error.square().mean(1)


@every_oracle
@every_schedule
@every_matching
def test_conditional_and_marginal_loss_have_the_same_gradient(matching, name, oracle):
    """Their expected gradients are equal, so the mean difference over 200 independent groups is within its error."""
    problem, network = Problem(matching, name, n=20_000, oracle=oracle), Small()
    gradients = []
    for part in (slice(start, start + 100) for start in range(0, 20_000, 100)):
        pair = [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss(network, part).mean(), network.parameters())])
            for loss in (problem.conditional, problem.marginal)
        ]
        gradients.append(torch.stack(pair))
    conditional, marginal = torch.stack(gradients).unbind(1)
    difference = conditional - marginal
    assert errors_off(difference, 0) < LIMIT
    # The comparison is sharp: a gradient that is wrong by a tenth would be seen.
    assert (0.1 * marginal.mean(0).abs() > LIMIT * standard_errors(difference)).any()


@every_oracle
@every_schedule
@every_matching
def test_conditional_and_marginal_loss_differ_by_a_number_that_no_weight_changes(matching, name, oracle):
    """That number is the variance of the conditional field about the marginal one. All on paired samples."""
    problem = Problem(matching, name, n=20_000, oracle=oracle)
    with torch.no_grad():
        first, second = (problem.conditional(net) - problem.marginal(net) for net in (Small(0), Small(1)))
    spread = (problem.target() - problem.exact).square().mean(1)
    spread = problem.weight(problem.beta_squared) * spread
    assert errors_off(first - second, 0) < LIMIT
    assert errors_off(first - spread, 0) < LIMIT
    assert spread.mean() > 2 * LIMIT * standard_errors(
        first - second
    )  # the losses do differ, by far more than the error


@every_oracle
@every_schedule
@pytest.mark.parametrize(("matching", "loss"), [("flow", FlowMatching), ("score", ScoreMatching)])
def test_the_exact_losses_are_the_marginal_losses(matching, loss, name, oracle):
    """Those written here, whose gradients the tests above compare with the conditional ones."""
    problem, network = Problem(matching, name, n=50, oracle=oracle), Small()
    model = Model(network, problem.head, problem.path)
    found = loss(problem.oracle, At(problem.t))(model, problem.x0, problem.z)
    torch.testing.assert_close(found, problem.marginal(network), rtol=1e-9, atol=0)
    assert loss(problem.oracle).problems(model) == []


def test_the_exact_losses_give_the_oracle_the_condition():
    problem, y = Problem("flow", "condot", n=50), torch.arange(50) % 3
    found = FlowMatching(problem.oracle, At(problem.t))(
        Model(Small(), VelocityHead(), problem.path), problem.x0, problem.z, y
    )
    error = Small()(problem.x, problem.t) - problem.oracle.velocity(problem.x, problem.t, y)
    torch.testing.assert_close(found, error.square().mean(1))


@every_matching
def test_the_exact_field_has_the_least_conditional_loss(matching):
    """Any other field f costs the mean of lambda |f - exact|^2 more."""
    problem = Problem(matching, "condot", n=20_000)

    class Exact(nn.Module):
        def __init__(self, push):
            super().__init__()
            self.push = push

        def forward(self, x, t, y=None):
            return problem.exact + self.push

    excess = problem.conditional(Exact(0.1)) - problem.conditional(Exact(0.0))
    expected = 0.01 * problem.weight(problem.beta_squared)
    assert errors_off(excess - expected, 0) < LIMIT


# Equivalences, exact but for rounding, in float64: they hold for each sample alone, whatever the network says.

HEADS = [VelocityHead(), ScoreHead(), NoiseHead(), DataHead(), VHead(), EDMHead()]
every_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
REGRESSIONS = [ConditionalFlowMatching, ConditionalScoreMatching, NoisePrediction, DataPrediction]
WEIGHTINGS = [
    VelocityWeighting(),
    SNRWeighting(),
    MinSNRWeighting(),
    LikelihoodWeighting(),
    EDMWeighting(),
    SigmoidWeighting(),
]


@pytest.mark.parametrize("name", SCHEDULE)
@every_head
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=type)
def test_a_weighting_of_one_error_makes_all_losses_one(weighting, head, name):
    problem = Problem("flow", name, n=50)
    model = Model(Small(), head, problem.path)
    first, *others = (loss(At(problem.t), weighting)(model, problem.x0, problem.z) for loss in REGRESSIONS)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULE)
@every_head
def test_one_loss_is_another_under_a_weighting(head, name):
    problem = Problem("flow", name, n=50)
    model, time = Model(Small(), head, problem.path), At(problem.t)

    def same(first, second):
        values = [loss(model, problem.x0, problem.z) for loss in (first, second)]
        torch.testing.assert_close(*values, rtol=1e-8, atol=1e-12)

    same(NoisePrediction(time), ConditionalScoreMatching(time, NoiseVarianceWeighting()))
    same(NoisePrediction(time), DataPrediction(time, SNRWeighting()))
    same(ConditionalFlowMatching(time), DataPrediction(time, VelocityWeighting()))
    same(ConditionalFlowMatching(time), NoisePrediction(time, VelocityWeighting()))


# EDM.


def karras(network, y, n, sigma, sigma_data):
    """The loss of each sample, from table 1 of Karras et al. 2022; n = sigma * unit noise."""
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma_data**2 + sigma**2).sqrt()
    c_in = 1 / (sigma**2 + sigma_data**2).sqrt()
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    c_noise = sigma.log() / 4
    denoised = c_skip * (y + n) + c_out * network(c_in * (y + n), c_noise[:, 0])
    return (weight * (denoised - y) ** 2).mean(1)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
@pytest.mark.parametrize("name", SCHEDULE)
def test_the_edm_loss_is_that_of_the_paper_on_every_schedule(name, sigma_data):
    class Retimed(nn.Module):
        """Our network on the paper's ln(sigma) / 4 in place of 1 / (1 + sigma)."""

        def forward(self, x, c_noise):
            return Small()(x, 1 / (1 + torch.exp(4 * c_noise)))

    problem = Problem("data", name, n=50)
    alpha, beta_squared = (function(problem.t)[:, None] for function in SCHEDULES[name])
    sigma = beta_squared.sqrt() / alpha
    expected = karras(Retimed(), problem.z, sigma * problem.x0, sigma, sigma_data)
    model = Model(Small(), EDMHead(sigma_data), problem.path)
    found = EDMLoss(At(problem.t), EDMWeighting(sigma_data))(model, problem.x0, problem.z)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_the_edm_loss_has_the_times_and_the_weighting_of_the_paper():
    loss = EDMLoss()
    assert isinstance(loss.time, LogNormalTime)
    assert (loss.time.mean, loss.time.std, loss.weighting.sigma_data) == (-1.2, 1.2, 0.5)


# Distances.

ERRORS = torch.tensor([[0.2, -0.5, 0.1], [3.0, -0.5, 0.0], [-10.0, 4.0, 2.0]], dtype=torch.float64)


def test_the_distances_by_hand():
    zero = torch.zeros_like(ERRORS)
    small, middle, large = huber(ERRORS, zero).tolist()
    assert small == pytest.approx((0.04 + 0.25 + 0.01) / 3)
    assert middle == pytest.approx((2 * 3 - 1 + 0.25) / 3)
    assert large == pytest.approx((19 + 7 + 3) / 3)
    torch.testing.assert_close(squared(ERRORS, zero), (ERRORS**2).sum(1) / 3)
    c = 0.00054 * math.sqrt(3)  # Song and Dhariwal 2023, for d = 3
    torch.testing.assert_close(pseudo_huber(ERRORS, zero), (((ERRORS**2).sum(1) + c**2).sqrt() - c) / math.sqrt(3))


@pytest.mark.parametrize("distance", [squared, huber, pseudo_huber])
def test_no_error_costs_nothing_and_has_no_slope(distance):
    x = torch.ones(2, 3, 4, requires_grad=True)
    found = distance(x, torch.ones(2, 3, 4))
    assert found.tolist() == [0, 0]
    assert torch.autograd.grad(found.sum(), x)[0].abs().max() == 0


@pytest.mark.parametrize(("name", "distance"), [("huber", huber), ("pseudo_huber", pseudo_huber)])
@pytest.mark.parametrize("loss", REGRESSIONS)
def test_a_loss_takes_its_distance_by_name(loss, name, distance):
    problem, network = Problem("flow", "cosine", n=20), Small()
    model = Model(network, VelocityHead(), problem.path)
    value = loss(At(problem.t), Three(), distance=name)(model, problem.x0, problem.z)
    problem.quantity = loss.quantity
    (prediction,) = model.predict(problem.x, problem.t, None, (loss.quantity,))
    torch.testing.assert_close(value, 3 * distance(prediction, problem.target()))


def test_an_outlier_pulls_less_under_a_robust_distance():
    """By the gradient on a prediction of 0: a target that is twice as far pulls twice, or not at all more."""
    pulls = {}
    for distance in (squared, huber, pseudo_huber):
        x = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
        near, far = torch.autograd.grad(distance(x, torch.tensor([[10.0], [20.0]], dtype=x.dtype)).sum(), x)[0].abs()
        pulls[distance] = float(far / near)
    assert pulls == pytest.approx({squared: 2, huber: 1, pseudo_huber: 1})


# Values. At t = 1/4 of the straight path from x0 to z: alpha = 1/4, beta = 3/4, velocity z - x0, score -x0 / beta.

X0 = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
Z = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
QUARTER = At(torch.tensor([0.25], dtype=torch.float64))
CONDOT = GaussianPath(CondOT())


def test_flow_matching_by_hand():
    model = Model(Constant(1.0, -1.0), VelocityHead(), CONDOT)
    by_hand = ((1 - 2) ** 2 + (-1 - -3) ** 2) / 2
    assert ConditionalFlowMatching(QUARTER)(model, X0, Z).tolist() == pytest.approx([by_hand])
    assert ConditionalFlowMatching(QUARTER, Three())(model, X0, Z).tolist() == pytest.approx([3 * by_hand])


def test_score_matching_by_hand():
    model = Model(Constant(1.0, -1.0), ScoreHead(), CONDOT)
    by_hand = ((1 + 4 / 3) ** 2 + (-1 + 8 / 3) ** 2) / 2
    for weighting, weight in [(UnitWeighting(), 1), (NoiseVarianceWeighting(), 9 / 16), (Three(), 3)]:
        loss = ConditionalScoreMatching(QUARTER, weighting)
        assert loss(model, X0, Z).tolist() == pytest.approx([weight * by_hand])


def test_score_matching_under_the_variance_of_the_noise_is_noise_prediction():
    """With the noise head, beta^2 |-N/beta + x0/beta|^2 = |N - x0|^2: DDPM's simple loss."""
    model = Model(Constant(1.0, -1.0), NoiseHead(), CONDOT)
    by_hand = ((1 - 1) ** 2 + (-1 - 2) ** 2) / 2
    assert ConditionalScoreMatching(QUARTER)(model, X0, Z).tolist() == pytest.approx([by_hand])


def test_flow_matching_of_a_data_head_by_hand():
    """D = (1, -1) at x = (1.5, 1.25): the velocity is (D - x) / (1 - t)."""
    model = Model(Constant(1.0, -1.0), DataHead(), CONDOT)
    u = ((1 - 1.5) / 0.75, (-1 - 1.25) / 0.75)
    by_hand = ((u[0] - 2) ** 2 + (u[1] + 3) ** 2) / 2
    assert ConditionalFlowMatching(QUARTER)(model, X0, Z).tolist() == pytest.approx([by_hand])


def test_the_joint_loss_is_the_sum_of_its_parts():
    n = 50
    problem = Problem("flow", "cosine", n)
    time, network = At(problem.t), Small(outputs=2)
    model = Model(network, JointHead(), problem.path)
    parts = [loss(time)(model, problem.x0, problem.z) for loss in (ConditionalFlowMatching, ConditionalScoreMatching)]
    together = JointMatching(time, score_weight=0.3)(model, problem.x0, problem.z)
    torch.testing.assert_close(together, parts[0] + 0.3 * parts[1])
    unit = ConditionalScoreMatching(time, UnitWeighting())(model, problem.x0, problem.z)
    together = JointMatching(time, score_weighting=UnitWeighting())(model, problem.x0, problem.z)
    torch.testing.assert_close(together, parts[0] + unit)


@pytest.mark.parametrize("distance", ["squared", "huber", "pseudo_huber"])
def test_the_joint_loss_has_a_weighting_and_a_distance_as_the_other_losses(distance):
    problem = Problem("flow", "cosine", 50)
    time, model = At(problem.t), Model(Small(outputs=2), JointHead(), problem.path)
    loss = JointMatching(time, 0.3, SNRWeighting(), MinSNRWeighting(), distance)
    parts = [
        ConditionalFlowMatching(time, MinSNRWeighting(), distance)(model, problem.x0, problem.z),
        0.3 * ConditionalScoreMatching(time, SNRWeighting(), distance)(model, problem.x0, problem.z),
    ]
    torch.testing.assert_close(loss(model, problem.x0, problem.z), parts[0] + parts[1])
    assert loss.problems(model) == []
    unweighable = JointMatching(weighting=OfData()).problems(Model(Small(outputs=2), JointHead(), NoScore()))
    assert any(problem.startswith("OfData weighs the error of the data") for problem in unweighable)


def test_the_joint_loss_calls_the_network_once():
    network, calls = Small(outputs=2), []
    network.register_forward_hook(lambda *_: calls.append(1))
    JointMatching()(Model(network, JointHead(), CONDOT), X0, Z)
    assert calls == [1]


@pytest.mark.parametrize("event", [(2,), (3, 4, 4)])
def test_a_loss_is_the_mean_over_the_event_of_each_sample_alone(event):
    class Zero(nn.Module):
        def forward(self, x, t, y=None):
            return torch.zeros_like(x)

    x0, z = torch.randn(2, 5, *event, generator=seeded(), dtype=torch.float64)
    t = At(torch.rand(5, generator=seeded(1), dtype=torch.float64))
    expected = torch.stack([(b - a).square().mean() for a, b in zip(x0, z, strict=True)])
    torch.testing.assert_close(ConditionalFlowMatching(t)(Model(Zero(), VelocityHead(), CONDOT), x0, z), expected)


@pytest.mark.parametrize("name", SCHEDULE)
def test_the_weightings_are_one_and_the_variance_of_the_noise(name):
    t, path = torch.linspace(0, 1, 11, dtype=torch.float64), GaussianPath(SCHEDULE[name])
    assert (UnitWeighting().weight(t, path) == 1).all()
    torch.testing.assert_close(NoiseVarianceWeighting().weight(t, path), SCHEDULES[name][1](t))


LOSSES = [*(loss() for loss in REGRESSIONS), EDMLoss(), JointMatching()]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


@pytest.mark.parametrize("name", SCHEDULE)
@pytest.mark.parametrize("head", [*HEADS, JointHead()], ids=lambda head: type(head).__name__)
@every_loss
def test_every_head_has_a_finite_loss_and_gradient_with_every_loss(name, head, loss):
    network = Small(outputs=head.outputs, dtype=torch.float32)
    model = Model(network, head, GaussianPath(SCHEDULE[name]))
    generator = seeded()
    x0, z = torch.randn(2, 2000, 2, generator=generator)
    losses = loss(model, x0, z, generator=generator)
    losses.mean().backward()
    assert losses.shape == (2000,)
    assert losses.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", SCHEDULE)
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=type)
@pytest.mark.parametrize("distance", ["squared", "huber", "pseudo_huber"])
def test_every_weighting_and_distance_has_a_finite_loss_and_gradient_at_the_last_times_that_are_drawn(
    name, weighting, distance
):
    gap = torch.finfo(torch.float32).eps
    time = At(torch.tensor([gap, 0.5, 1 - gap]))
    x0, z = torch.randn(2, 3, 2, generator=seeded())
    for head in HEADS:
        network = Small(dtype=torch.float32)
        model = Model(network, head, GaussianPath(SCHEDULE[name]))
        for loss in (ConditionalFlowMatching, DataPrediction):
            losses = loss(time, weighting, distance)(model, x0, z)
            losses.sum().backward()
            assert losses.isfinite().all()
            assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


# Configurations.


@pytest.mark.parametrize("name", ["cfm", "csm", "noise", "data", "edm"])
def test_a_loss_with_everything_in_it_is_written_and_read_back(name):
    given = f"""
    name: {name}
    time: {{name: log_normal, mean: -0.5, std: 2}}
    weighting: {{name: min_snr, gamma: 3}}
    distance: pseudo_huber
    """
    first = (
        fk.Pipeline.builder().data("moons").from_config({"data": "moons", "loss": parse_yaml(given, "here")}).build()
    )
    again = fk.Pipeline.builder().from_config(first.config).build()
    assert first.config["loss"] == again.config["loss"]
    assert first.config["loss"] == {
        "name": name,
        "time": {"name": "log_normal", "mean": -0.5, "std": 2.0},
        "weighting": {"name": "min_snr", "gamma": 3.0},
        "distance": "pseudo_huber",
    }
    assert (again.loss.time.std, again.loss.weighting.gamma, again.loss.distance) == (2, 3, "pseudo_huber")


@pytest.mark.parametrize(
    "weighting",
    ["unit", "noise_variance", "velocity", "snr", "min_snr", "likelihood", "edm", "sigmoid"],
)
@pytest.mark.parametrize("time", ["uniform", "low_discrepancy", "logit_normal", "mode", "cosmap", "importance"])
def test_objects_are_written_by_their_names(weighting, time):
    loss = NoisePrediction(fk.create("time", time), fk.create("weighting", weighting))
    config = fk.Pipeline.builder().data("moons").loss(loss).build().config["loss"]
    assert (config["time"]["name"], config["weighting"]["name"]) == (time, weighting)


@pytest.mark.parametrize("name", ["fm", "sm"])
def test_the_exact_losses_take_an_object_by_their_name(name):
    built = fk.create("loss", name, exact=mixture(), weighting="velocity")
    assert isinstance(built.exact, GaussianMixture)
    pipeline = fk.Pipeline.builder().data("moons").loss(name, exact=mixture()).build()
    assert pipeline.config["loss"]["exact"] == {"instance": "oracles:GaussianMixture"}
    with pytest.raises(fk.ConfigError, match=r"loss.exact: is required; choose from: finite_data"):
        fk.Pipeline.builder().data("moons").loss(name).build()


def test_an_unknown_distance_is_refused():
    with pytest.raises(
        fk.ConfigError, match=r"loss.distance: should be 'squared', 'huber' or 'pseudo_huber'; got 'cubic'"
    ):
        fk.Pipeline.builder().data("moons").loss("cfm", distance="cubic").build()


# What does not go together is said when a pipeline is built.


def test_losses_that_fit_their_model_have_no_problems():
    for head in HEADS:
        model = Model(Small(), head, CONDOT)
        for loss in (*REGRESSIONS, EDMLoss):
            assert loss().problems(model) == []
            assert all(loss(weighting=weighting).problems(model) == [] for weighting in WEIGHTINGS)
    assert JointMatching().problems(Model(Small(outputs=2), JointHead(), CONDOT)) == []


@pytest.mark.parametrize("loss", [*REGRESSIONS, EDMLoss])
def test_a_head_of_two_fields_is_not_trained_in_one_alone(loss):
    (problem,) = loss().problems(Model(Small(outputs=2), JointHead(), CONDOT))
    assert problem.startswith("trains one field, and JointHead predicts velocity and score")


def test_a_path_without_a_score_is_refused_by_what_needs_one():
    velocity = Model(Small(), VelocityHead(), NoScore())
    assert ConditionalFlowMatching().problems(velocity) == []
    assert any("NoScore has none" in problem for problem in ConditionalScoreMatching().problems(velocity))
    assert any("NoScore has none" in problem for problem in JointMatching().problems(velocity))


def test_a_field_that_the_head_does_not_give_is_refused_by_name():
    problems = ConditionalFlowMatching().problems(Model(Small(), ScoreHead(), NoScore()))
    assert problems == ["needs the velocity, which ScoreHead does not give here"]


def test_a_weighting_that_the_path_cannot_convert_is_refused_by_name():
    model = Model(Small(), VelocityHead(), NoScore())
    assert ConditionalFlowMatching(weighting=VelocityWeighting()).problems(model) == []
    (problem,) = ConditionalFlowMatching(weighting=OfData()).problems(model)
    assert problem == (
        "OfData weighs the error of the data, and NoScore cannot turn the velocity into that: use the weighting 'unit'"
    )
    assert any("OfData weighs" in problem for problem in JointMatching(score_weighting=OfData()).problems(model))


def test_times_that_the_path_does_not_have_are_refused_by_name():
    model = Model(Small(outputs=2), JointHead(), NoScore())
    for loss in (ConditionalFlowMatching, JointMatching):
        assert any(
            "'log_normal' needs a path with a schedule" in text for text in loss(LogNormalTime()).problems(model)
        )


def test_an_exact_field_that_does_not_know_what_is_regressed_is_refused_by_name():
    class OnlyNoise(Predictor):
        def can_predict(self, wanted):
            return wanted is Quantity.NOISE

        def predict(self, x, t, y, wanted):
            raise AssertionError

    model = Model(Small(), VelocityHead(), CONDOT)
    assert FlowMatching(OnlyNoise()).problems(model) == ["OnlyNoise knows no velocity"]
    assert ScoreMatching(OnlyNoise()).problems(model) == ["OnlyNoise knows no score"]


ANOTHER = "exact is a field of another path or schedule than that of the model"


def exact_field(path):
    return fk.create("field", "gaussian_mixture", path=path, means=[[-2, 0], [2, 0]], covariances=[1, 1])


@pytest.mark.parametrize("loss", [FlowMatching, ScoreMatching])
@pytest.mark.parametrize(
    "schedule", ["cosine", {"name": "shifted", "shift": 2}, {"name": "polynomial", "n": 2}, "target"], ids=str
)
def test_an_exact_field_of_another_schedule_is_refused(loss, schedule):
    model = Model(Small(), VelocityHead(), CONDOT)
    assert loss(exact_field("gaussian")).problems(model) == []
    (problem,) = loss(exact_field({"name": "gaussian", "schedule": schedule})).problems(model)
    assert problem.startswith(ANOTHER)


@pytest.mark.parametrize(("path", "same"), [(Wide(), False), (CondOT(), True)])
def test_schedules_that_differ_by_the_size_of_the_noise_alone_are_two(path, same):
    """They turn a data prediction into a velocity alike."""
    problems = FlowMatching(exact_field("gaussian")).problems(Model(Small(), VelocityHead(), GaussianPath(path)))
    assert (problems == []) is same


def test_an_exact_field_goes_with_a_path_of_another_name_that_is_the_same(tiny):
    """Straight lines between independent ends, whichever plugin draws them; with noise they are no longer the same."""
    exact, straight = exact_field("gaussian"), {"name": "linear", "gamma": "none"}
    assert tiny.path(straight).loss("fm", exact=exact).build().loss.exact is exact
    with pytest.raises(fk.ConfigError, match="another path or schedule"):
        tiny.path({"name": "linear", "gamma": "brownian"}).loss("fm", exact=exact).build()
    with pytest.raises(fk.ConfigError, match="exact is a field of another source: a Gaussian path starts from"):
        tiny.path(straight).source({"name": "data", "data": "circles"}).loss("fm", exact=exact).build()


def test_an_exact_field_of_independent_ends_is_refused_where_a_coupling_pairs_them(tiny):
    exact = exact_field("gaussian")
    with pytest.raises(fk.ConfigError, match=r"exact is a field of independent x0 and z, and those of coupling 'ot'"):
        tiny.coupling("ot").loss("fm", exact=exact).build()
    said_nothing = tiny.coupling("ot").loss("fm", exact=mixture()).build()
    assert said_nothing.loss.exact.independent is None


def test_an_exact_field_is_configured_with_its_path(tiny):
    field = {"name": "finite_data", "data": "moons", "path": {"name": "gaussian", "schedule": "cosine"}}
    with pytest.raises(fk.ConfigError, match="another path or schedule"):
        tiny.loss("fm", exact=field).build()
    tiny.path("gaussian", schedule="cosine").loss("fm", exact=field).build()


def test_the_variance_of_the_noise_needs_a_schedule():
    assert NoiseVarianceWeighting().problems(CONDOT) == UnitWeighting().problems(NoScore()) == []
    assert "NoScore has none" in NoiseVarianceWeighting().problems(NoScore())[0]
    model = Model(Small(), VelocityHead(), NoScore())
    assert (
        "needs a path with a schedule" in ConditionalFlowMatching(weighting=NoiseVarianceWeighting()).problems(model)[0]
    )


def test_head_and_weighting_have_one_deviation_of_the_data(tiny):
    builder = tiny.head("edm", sigma_data=1.0)
    with pytest.raises(fk.ConfigError, match=r"weighting.sigma_data is 0.5 and head.sigma_data is 1: .* one value"):
        builder.loss("edm").build()
    builder.loss("edm", weighting={"name": "edm", "sigma_data": 1.0}).build()
    builder.loss("edm", weighting="unit").build()
    tiny.head("data").loss("edm").build()


def test_the_joint_loss_asks_for_the_joint_head():
    assert any(
        "use the head 'joint'" in problem
        for problem in JointMatching().problems(Model(Small(), VelocityHead(), CONDOT))
    )


def test_the_losses_take_uniform_times_unless_told_otherwise():
    for loss in (*(loss() for loss in REGRESSIONS), JointMatching()):
        assert isinstance(loss.time, UniformTime)
        assert (loss.time.low, loss.time.high) == (0.0, 1.0)
