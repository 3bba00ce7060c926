"""Classifier-free guidance: the formula, its special scales, its cost; and what every guidance promises."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_guidance import Autoguidance, CFGZeroStar, Chain, ClassifierFreeGuidance, ClassifierGuidance
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead, VHead
from oracles import GaussianMixture, mixture, seeded
from torch import nn

import flowkit as fk
from flowkit import Model, Predictor, Quantity, UnsupportedError

Y = torch.tensor([0, 1, 2, 2])
NONE = torch.full_like(Y, -1)


class Recorded(Predictor):
    """Passes on to another predictor and keeps what it was asked."""

    def __init__(self, model, known=tuple(Quantity)):
        self.model, self.known, self.calls = model, known, []

    def can_predict(self, wanted):
        return wanted in self.known

    def predict(self, x, t, y, wanted):
        self.calls.append((x, t, y, wanted))
        return self.model.predict(x, t, y, wanted)


def states(n=4):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


def test_guidance_by_hand():
    """The field is 10 with the label 7 and 4 without one: 4 + 2.5 (10 - 4) = 19."""

    class Two(Predictor):
        def can_predict(self, wanted):
            return True

        def predict(self, x, t, y, wanted):
            return tuple(torch.where(y == 7, 10.0, 4.0)[:, None].expand_as(x) for _ in wanted)

    guided = ClassifierFreeGuidance(2.5).guide(Two())
    y = torch.tensor([7, 7])
    assert guided.velocity(torch.zeros(2, 3), 0.5, y).tolist() == [[19.0] * 3] * 2
    assert guided.score(torch.zeros(2, 3), 0.5, y).tolist() == [[19.0] * 3] * 2


@pytest.mark.parametrize("scale", [0.5, 2.0, 7.0])
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.1, 0.4, 0.6, 0.9])], ids=["one time", "a time for each"])
def test_every_field_is_extrapolated_from_none_to_the_label(scale, t):
    oracle, x = mixture(), states()
    guided = ClassifierFreeGuidance(scale).guide(oracle)
    for quantity, field in zip(Quantity, guided.predict(x, t, Y, tuple(Quantity)), strict=True):
        (conditional,), (unconditional,) = (oracle.predict(x, t, y, (quantity,)) for y in (Y, NONE))
        torch.testing.assert_close(field, (1 - scale) * unconditional + scale * conditional)
    torch.testing.assert_close(guided.velocity(x, t, Y), guided.predict(x, t, Y, (Quantity.VELOCITY,))[0])


def test_scale_1_is_the_conditional_model_to_the_bit():
    oracle, x = mixture(), states()
    guided = ClassifierFreeGuidance(1.0).guide(oracle)
    assert torch.equal(guided.velocity(x, 0.4, Y), oracle.velocity(x, 0.4, Y))
    assert torch.equal(guided.score(x, 0.4, Y), oracle.score(x, 0.4, Y))


def test_scale_0_is_the_unconditional_model():
    oracle, x = mixture(), states()
    guided = ClassifierFreeGuidance(0.0).guide(oracle)
    torch.testing.assert_close(guided.velocity(x, 0.4, Y), oracle.velocity(x, 0.4, NONE), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(guided.score(x, 0.4, Y), oracle.score(x, 0.4, NONE), rtol=1e-12, atol=1e-12)


def test_guidance_asks_once_for_a_doubled_batch():
    recorded, x, t = Recorded(mixture()), states(), torch.tensor([0.1, 0.4, 0.6, 0.9])
    ClassifierFreeGuidance(3.0).guide(recorded).predict(x, t, Y, (Quantity.VELOCITY, Quantity.SCORE))
    ((asked_x, asked_t, asked_y, wanted),) = recorded.calls
    assert torch.equal(asked_x, torch.cat([x, x]))
    assert torch.equal(asked_t, torch.cat([t, t]))
    assert sorted(asked_y.tolist()) == sorted([*Y.tolist(), *NONE.tolist()])
    assert wanted == (Quantity.VELOCITY, Quantity.SCORE)


def test_scale_1_does_not_double_the_batch():
    recorded, x = Recorded(mixture()), states()
    ClassifierFreeGuidance(1.0).guide(recorded).velocity(x, 0.5, Y)
    assert [len(asked_x) for asked_x, *_ in recorded.calls] == [4]


def test_velocity_and_score_of_a_guided_model_belong_together():
    """The weights 1 - w and w sum to 1, so guiding and converting can be exchanged."""

    class Network(nn.Module):
        def forward(self, x, t, y=None):
            return mixture().velocity(x, t, y)

    path, x, t = GaussianPath(CondOT()), states(), 0.6
    guided = ClassifierFreeGuidance(2.0).guide(Model(Network(), VelocityHead(), path))
    velocity, score = guided.predict(x, t, Y, (Quantity.VELOCITY, Quantity.SCORE))
    torch.testing.assert_close(path.convert(velocity, x, t, Quantity.VELOCITY, Quantity.SCORE), score)


def test_several_conditions_are_dropped_together():
    class Sum(Predictor):
        def can_predict(self, wanted):
            return True

        def predict(self, x, t, y, wanted):
            told = torch.where(y["class"] >= 0, y["class"], 100.0) + y["angle"].nan_to_num(nan=1000.0)
            return tuple(told[:, None].expand_as(x) for _ in wanted)

    y = {"class": torch.tensor([1, 2]), "angle": torch.tensor([0.5, 0.25])}
    guided = ClassifierFreeGuidance(2.0).guide(Sum())
    assert guided.velocity(torch.zeros(2, 1), 0.5, y)[:, 0].tolist() == [2 * 1.5 - 1100, 2 * 2.25 - 1100]
    assert y["class"].tolist() == [1, 2]


def test_a_guided_model_gives_what_its_model_gives():
    guided = ClassifierFreeGuidance(2.0).guide(Recorded(mixture(), known=(Quantity.VELOCITY,)))
    assert guided.can_predict(Quantity.VELOCITY)
    assert not guided.can_predict(Quantity.SCORE)


def test_guidance_without_a_condition_is_refused():
    with pytest.raises(UnsupportedError, match="needs a condition y, and got none"):
        ClassifierFreeGuidance(2.0).guide(mixture()).velocity(states(), 0.5)


def test_guidance_on_images():
    oracle = GaussianMixture(torch.randn(3, 2, 4, 4, generator=seeded(1)), [0.7, 0.6, 0.8], [0.5, 0.2, 0.3])
    x = torch.randn(4, 2, 4, 4, generator=seeded())
    guided = ClassifierFreeGuidance(2.0).guide(oracle).velocity(x, 0.5, Y)
    torch.testing.assert_close(guided, 2 * oracle.velocity(x, 0.5, Y) - oracle.velocity(x, 0.5, NONE))
    assert guided.dtype == x.dtype


def test_guidance_needs_a_model_that_knows_no_condition():
    assert ClassifierFreeGuidance().needs_dropped_conditions


# The interval.


def test_outside_the_interval_it_is_the_conditional_model_at_the_cost_of_one_batch():
    recorded, x = Recorded(mixture()), states()
    guided = ClassifierFreeGuidance(3.0, interval=(0.2, 0.6), rescale=0.5).guide(recorded)
    for t in (0.0, 0.1, 0.61, torch.tensor(0.9)):
        for quantity in (Quantity.VELOCITY, Quantity.DATA):
            (field,) = guided.predict(x, t, Y, (quantity,))
            assert torch.equal(field, mixture().predict(x, t, Y, (quantity,))[0])
    assert {len(asked_x) for asked_x, *_ in recorded.calls} == {len(x)}


def test_inside_the_interval_and_at_its_ends_it_is_guidance():
    x = states()
    limited = ClassifierFreeGuidance(3.0, interval=(0.2, 0.6)).guide(mixture())
    always = ClassifierFreeGuidance(3.0).guide(mixture())
    for t in (0.2, 0.4, 0.6, torch.tensor(0.6, dtype=torch.float64)):
        assert torch.equal(limited.velocity(x, t, Y), always.velocity(x, t, Y))


def test_with_a_time_for_each_sample_each_has_its_own_interval():
    x, t = states(), torch.tensor([0.1, 0.2, 0.6, 0.9], dtype=torch.float64)
    guided = ClassifierFreeGuidance(3.0, interval=(0.2, 0.6)).guide(mixture())
    together = guided.velocity(x, t, Y)
    alone = [guided.velocity(x[i : i + 1], float(t[i]), Y[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("integrator", ["euler", "euler_maruyama"])
def test_sampling_pays_for_guidance_in_the_interval_alone(integrator):
    """Ten steps from 0, 0.1, ..., 0.9; those from 0.3 to 0.6 are guided."""
    recorded = Recorded(mixture())
    recorded.path = GaussianPath(CondOT())
    diffusion = fk.create("diffusion", "constant", value=0.5) if integrator == "euler_maruyama" else None
    solver = fk.create("integrator", integrator)
    guidance = ClassifierFreeGuidance(3.0, interval=(0.25, 0.65))
    fk.sample(
        recorded, states(), Y, integrator=solver, steps=10, guidance=guidance, diffusion=diffusion, generator=seeded()
    )
    assert [len(asked_x) for asked_x, *_ in recorded.calls] == [4, 4, 4, 8, 8, 8, 8, 4, 4, 4]


@pytest.mark.parametrize("interval", [(0.5, 0.5), (0.6, 0.2), (-0.1, 0.5), (0.5, 1.1)])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(ValueError, match=r"interval must be two times 0 <= first < last <= 1, got \["):
        ClassifierFreeGuidance(interval=interval)


# Rescaling.


def model_of(head, schedule=None):
    """A model whose network knows exactly what its head says."""

    class Network(nn.Module):
        def forward(self, x, t, y=None):
            return torch.cat(mixture().predict(x, t, y, head.quantities), dim=1)

    return Model(Network(), head, GaussianPath(schedule or CondOT()), mixture().mean)


HEADS = [VelocityHead(), ScoreHead(), NoiseHead(), DataHead(), VHead(), JointHead()]
every_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)


@every_head
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_what_the_model_predicts_is_rescaled_by_the_formula(head, phi):
    """As Lin et al. write it, with deviations over each sample."""
    model, x, quantity = model_of(head), states(), head.quantities[0]
    found = ClassifierFreeGuidance(4.0, rescale=phi).guide(model).predict(x, 0.4, Y, (quantity,))[0]
    plain = ClassifierFreeGuidance(4.0).guide(model).predict(x, 0.4, Y, (quantity,))[0]
    conditional = model.predict(x, 0.4, Y, (quantity,))[0]
    rescaled = plain * conditional.std(1, keepdim=True) / plain.std(1, keepdim=True)
    torch.testing.assert_close(found, phi * rescaled + (1 - phi) * plain)


def test_a_model_that_says_not_what_it_predicts_has_its_velocity_rescaled():
    oracle, x = mixture(), states()
    oracle.path = GaussianPath(CondOT())
    assert oracle.quantities == ()
    found = ClassifierFreeGuidance(4.0, rescale=1.0).guide(oracle).velocity(x, 0.4, Y)
    torch.testing.assert_close(found.std(1), oracle.velocity(x, 0.4, Y).std(1))


def test_rescaling_events_without_contrast_changes_nothing():
    """One number has no standard deviation, and 0 / 0 is not taken."""

    class One(Predictor):
        def can_predict(self, wanted):
            return True

        def predict(self, x, t, y, wanted):
            return tuple(y[:, None].to(x) for _ in wanted)

    found = ClassifierFreeGuidance(4.0, rescale=1.0).guide(One()).velocity(torch.zeros(2, 1), 0.5, torch.tensor([3, 4]))
    assert found.tolist() == [[-1 + 4 * 4.0], [-1 + 4 * 5.0]]


def test_rescaling_without_a_path_gives_what_it_rescales_and_refuses_the_rest():
    guided = ClassifierFreeGuidance(4.0, rescale=1.0).guide(mixture())
    guided.velocity(states(), 0.4, Y)
    with pytest.raises(
        UnsupportedError, match="changes the velocity, and what becomes of the score depends on the path"
    ):
        guided.score(states(), 0.4, Y)


# Every method.


GUIDANCE = {
    "classifier_free": ClassifierFreeGuidance(3.0, rescale=0.7),
    "cfg_zero_star": CFGZeroStar(3.0, zero_until=0.1),
    "autoguidance": Autoguidance(model_of(DataHead()), 3.0),
    "classifier": ClassifierGuidance(lambda x, t, y: -(x - 1).square().sum(1) * (2 + t), 3.0),
}
GUIDANCE["chain"] = Chain([GUIDANCE["classifier_free"], GUIDANCE["classifier"]])


@pytest.mark.parametrize("name", GUIDANCE)
@pytest.mark.parametrize("head", [h for h in HEADS if len(h.quantities) == 1], ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("t", [0.05, 0.6, torch.tensor([0.05, 0.4, 0.6, 0.9])], ids=str)
def test_all_fields_of_a_guided_model_belong_together(name, head, t):
    """Velocity, score, noise, data and v that were asked together or alone are conversions of each other."""
    path, x = GaussianPath(CondOT()), states()
    guided = GUIDANCE[name].guide(model_of(head))
    fields = guided.predict(x, t, Y, tuple(Quantity))
    for given, value in zip(Quantity, fields, strict=True):
        torch.testing.assert_close(guided.predict(x, t, Y, (given,))[0], value)
        for wanted, expected in zip(Quantity, fields, strict=True):
            torch.testing.assert_close(path.convert(value, x, t, given, wanted), expected)


@pytest.mark.parametrize("name", GUIDANCE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_guided_velocities_are_finite_at_both_ends(name, dtype, t):
    x = states().to(dtype)
    velocity = GUIDANCE[name].guide(model_of(DataHead())).velocity(x, t, Y)
    assert velocity.dtype == dtype
    assert velocity.isfinite().all()


@pytest.mark.parametrize("name", GUIDANCE)
def test_a_sample_is_guided_alike_whatever_else_is_in_the_batch(name):
    guided, x = GUIDANCE[name].guide(model_of(NoiseHead())), states()
    together = guided.velocity(x, 0.4, Y)
    alone = [guided.velocity(x[i : i + 1], 0.4, Y[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("name", GUIDANCE)
def test_every_channel_is_guided(name):
    """On images of three channels, where each channel of the field depends on the label."""
    oracle = GaussianMixture(torch.randn(3, 3, 4, 4, generator=seeded(1)), [0.7, 0.6, 0.8], [0.5, 0.2, 0.3])
    oracle.path = GaussianPath(CondOT())
    guidance = GUIDANCE[name]
    if name == "autoguidance":
        guidance = Autoguidance(GaussianMixture(oracle.means * 0.5, oracle.stds, oracle.weights), 3.0)
    if name in ("classifier", "chain"):
        guidance = ClassifierGuidance(lambda x, t, y: -(x - 1).square().flatten(1).sum(1), 3.0)
    x = torch.randn(4, 3, 4, 4, generator=seeded(), dtype=torch.float64)
    change = guidance.guide(oracle).velocity(x, 0.4, Y) - oracle.velocity(x, 0.4, Y)
    assert (change.abs().amax((0, 2, 3)) > 0.1).all()
