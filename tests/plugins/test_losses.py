"""The losses: conditional and marginal regression have one gradient; values; weightings; times."""

import pytest
import scipy.stats
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead
from flowkit_losses.cfm import ConditionalFlowMatching
from flowkit_losses.csm import ConditionalScoreMatching
from flowkit_losses.joint import JointMatching
from flowkit_losses.times import UniformTime
from flowkit_losses.weightings import BetaSquaredWeighting, UnitWeighting
from oracles import LIMIT, SCHEDULES, errors_off, mixture, seeded, standard_errors
from torch import nn

from flowkit import Model, Path, Quantity, TimeSampler, Weighting

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
}
every_matching = pytest.mark.parametrize("matching", MATCHING)
every_schedule = pytest.mark.parametrize("name", ["condot", "cosine"])


class Problem:
    """A batch, the package's conditional loss on it, and the marginal loss written here against the oracle."""

    def __init__(self, matching, name, n, seed=0):
        self.loss, self.head, self.quantity, self.weight = MATCHING[matching]
        self.path, self.oracle, self.name = GaussianPath(SCHEDULE[name]), mixture(name), name
        generator = seeded(seed)
        self.x0, self.z = self.oracle.pairs(n, generator)
        self.t = 0.02 + 0.96 * torch.rand(n, generator=generator, dtype=torch.float64)
        alpha, self.beta_squared = (function(self.t) for function in SCHEDULES[name])
        self.x = alpha[:, None] * self.z + self.beta_squared.sqrt()[:, None] * self.x0
        self.exact = self.oracle.predict(self.x, self.t, None, (self.quantity,))[0]

    def conditional(self, network, part=slice(None)):
        """What the package computes."""
        loss = self.loss(time=At(self.t[part]))
        return loss(Model(network, self.head, self.path), self.x0[part], self.z[part])

    def marginal(self, network, part=slice(None)):
        """lambda(t) |f_theta(x_t) - f_t(x_t)|^2 with the exact marginal field f."""
        error = network(self.x[part], self.t[part]) - self.exact[part]
        return self.weight(self.beta_squared[part]) * error.square().mean(1)


@every_schedule
@every_matching
def test_conditional_and_marginal_loss_have_the_same_gradient(matching, name):
    """Their expected gradients are equal, so the mean difference over 200 independent groups is within its error."""
    problem, network = Problem(matching, name, n=20_000), Small()
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


@every_schedule
@every_matching
def test_conditional_and_marginal_loss_differ_by_a_number_that_no_weight_changes(matching, name):
    """That number is the variance of the conditional field about the marginal one. All on paired samples."""
    problem = Problem(matching, name, n=20_000)
    with torch.no_grad():
        first, second = (problem.conditional(net) - problem.marginal(net) for net in (Small(0), Small(1)))
    field = problem.path.velocity if matching == "flow" else problem.path.score
    spread = (field(problem.x, problem.x0, problem.z, problem.t) - problem.exact).square().mean(1)
    spread = problem.weight(problem.beta_squared) * spread
    assert errors_off(first - second, 0) < LIMIT
    assert errors_off(first - spread, 0) < LIMIT
    assert spread.mean() > 20 * standard_errors(first - second)  # the losses do differ, by far more than the error


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


# Values. At t = 1/4 of the straight path from x0 to z: alpha = 1/4, beta = 3/4, velocity z - x0, score -x0 / beta.

X0 = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
Z = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
QUARTER = At(torch.tensor([0.25], dtype=torch.float64))
CONDOT = GaussianPath(CondOT())


class Three(Weighting):
    def weight(self, t, path):
        return 3 * torch.ones_like(t)


def test_flow_matching_by_hand():
    model = Model(Constant(1.0, -1.0), VelocityHead(), CONDOT)
    by_hand = ((1 - 2) ** 2 + (-1 - -3) ** 2) / 2
    assert ConditionalFlowMatching(QUARTER)(model, X0, Z).tolist() == pytest.approx([by_hand])
    assert ConditionalFlowMatching(QUARTER, Three())(model, X0, Z).tolist() == pytest.approx([3 * by_hand])


def test_score_matching_by_hand():
    model = Model(Constant(1.0, -1.0), ScoreHead(), CONDOT)
    by_hand = ((1 + 4 / 3) ** 2 + (-1 + 8 / 3) ** 2) / 2
    for weighting, weight in [(UnitWeighting(), 1), (BetaSquaredWeighting(), 9 / 16), (Three(), 3)]:
        loss = ConditionalScoreMatching(QUARTER, weighting)
        assert loss(model, X0, Z).tolist() == pytest.approx([weight * by_hand])


def test_score_matching_with_beta_squared_is_noise_prediction():
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


def test_a_loss_passes_the_condition_to_the_network():
    class Label(nn.Module):
        def forward(self, x, t, y=None):
            return y[:, None].expand_as(x)

    y = torch.tensor([2.0], dtype=torch.float64)
    model = Model(Label(), VelocityHead(), CONDOT)
    assert ConditionalFlowMatching(QUARTER)(model, X0, Z, y).tolist() == pytest.approx([(0**2 + 5**2) / 2])


@pytest.mark.parametrize("name", SCHEDULE)
def test_the_weightings_are_one_and_beta_squared(name):
    t, path = torch.linspace(0, 1, 11, dtype=torch.float64), GaussianPath(SCHEDULE[name])
    assert (UnitWeighting().weight(t, path) == 1).all()
    torch.testing.assert_close(BetaSquaredWeighting().weight(t, path), SCHEDULES[name][1](t))


@pytest.mark.parametrize("name", SCHEDULE)
@pytest.mark.parametrize("head", [VelocityHead(), ScoreHead(), NoiseHead(), DataHead(), JointHead()], ids=type)
@pytest.mark.parametrize("loss", [ConditionalFlowMatching(), ConditionalScoreMatching(), JointMatching()], ids=type)
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


@pytest.mark.parametrize("loss", [ConditionalFlowMatching(), ConditionalScoreMatching(), JointMatching()], ids=type)
def test_the_times_come_from_the_generator_and_from_nothing_else(loss):
    problem = Problem("flow", "condot", 20)
    model = Model(Small(outputs=2), JointHead(), problem.path)
    before = torch.get_rng_state()
    first, again, other = (loss(model, problem.x0, problem.z, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


# What does not go together is said when a pipeline is built.


def test_losses_that_fit_their_model_have_no_problems():
    for head in (VelocityHead(), ScoreHead(), NoiseHead(), DataHead(), JointHead()):
        model = Model(Small(), head, CONDOT)
        assert ConditionalFlowMatching().problems(model) == []
        assert ConditionalScoreMatching().problems(model) == []
    assert JointMatching().problems(Model(Small(outputs=2), JointHead(), CONDOT)) == []


def test_a_path_without_a_score_is_refused_by_what_needs_one():
    velocity = Model(Small(), VelocityHead(), NoScore())
    assert ConditionalFlowMatching().problems(velocity) == []
    assert any("NoScore has none" in problem for problem in ConditionalScoreMatching().problems(velocity))
    assert any("NoScore has none" in problem for problem in JointMatching().problems(velocity))


def test_a_field_that_the_head_does_not_give_is_refused_by_name():
    problems = ConditionalFlowMatching().problems(Model(Small(), ScoreHead(), NoScore()))
    assert problems == ["needs the velocity, which ScoreHead does not give here"]


def test_the_beta_squared_weighting_needs_a_schedule():
    assert BetaSquaredWeighting().problems(CONDOT) == UnitWeighting().problems(NoScore()) == []
    assert "NoScore has none" in BetaSquaredWeighting().problems(NoScore())[0]
    model = Model(Small(), VelocityHead(), NoScore())
    assert (
        "needs a path with a schedule" in ConditionalFlowMatching(weighting=BetaSquaredWeighting()).problems(model)[0]
    )


def test_the_joint_loss_asks_for_the_joint_head():
    assert any(
        "use the head 'joint'" in problem
        for problem in JointMatching().problems(Model(Small(), VelocityHead(), CONDOT))
    )


def test_the_losses_take_uniform_times_unless_told_otherwise():
    for loss in (ConditionalFlowMatching(), ConditionalScoreMatching(), JointMatching()):
        assert isinstance(loss.time, UniformTime)
        assert (loss.time.low, loss.time.high) == (0.0, 1.0)
