"""Classifier-free guidance: the formula, its special scales, its cost."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_guidance.classifier_free import ClassifierFreeGuidance
from flowkit_heads.heads import VelocityHead
from oracles import GaussianMixture, mixture, seeded
from torch import nn

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
