"""Classifier guidance: Bayes' rule for every field, on samples and on densities."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.source import GaussianSource
from flowkit_guidance import Chain, ClassifierFreeGuidance, ClassifierGuidance
from flowkit_interpolants.paths import BrownianBridge
from flowkit_ode.euler import Euler
from flowkit_ode.midpoint import Midpoint
from oracles import LIMIT, errors_off, mixture, seeded

import flowkit as fk
from flowkit import Quantity, UnsupportedError

Y = torch.tensor([0, 1, 2, 2])
NONE = torch.full_like(Y, -1)


def states():
    return torch.randn(4, 2, generator=seeded(), dtype=torch.float64)


def with_classifier(schedule="condot", scale=1.0):
    """The mixture, and guidance by its own log p_t(y|x), whose derivative autograd takes."""
    oracle = mixture(schedule)
    oracle.path = GaussianPath(fk.create("schedule", schedule))

    def log_prob(x, t, y):
        return oracle.log_joint(x, t).log_softmax(1).gather(1, y.clamp(min=0)[:, None])[:, 0]

    return oracle, ClassifierGuidance(log_prob, scale)


class Unconditional(fk.Predictor):
    """The mixture, deaf to labels."""

    def __init__(self, oracle):
        self.oracle, self.path = oracle, oracle.path

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        return self.oracle.predict(x, t, None, wanted)


@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp", "ve"])
@pytest.mark.parametrize("t", [0.3, torch.tensor([0.1, 0.4, 0.6, 0.9])], ids=["one time", "a time for each"])
@pytest.mark.parametrize("quantity", Quantity)
def test_it_is_bayes_rule_for_every_field(schedule, t, quantity):
    oracle, guidance = with_classifier(schedule)
    t = t.double() if isinstance(t, torch.Tensor) else t
    found = guidance.guide(Unconditional(oracle)).predict(states(), t, Y, (quantity,))[0]
    torch.testing.assert_close(found, oracle.predict(states(), t, Y, (quantity,))[0])


def test_the_scale_multiplies_the_gradient():
    oracle, guidance = with_classifier(scale=3.0)
    x, y = states(), None
    expected = oracle.score(x, 0.4, y) + 3 * (oracle.score(x, 0.4, Y) - oracle.score(x, 0.4, y))
    torch.testing.assert_close(guidance.guide(Unconditional(oracle)).score(x, 0.4, Y), expected)


def test_samples_of_the_unconditional_model_are_steered_to_the_label():
    """The mean of component 1 within standard errors; a step of 1/100 errs by less than one of them."""
    oracle, guidance = with_classifier()
    x0, y = torch.randn(400, 2, generator=seeded(), dtype=torch.float64), torch.full((400,), 1)
    x = fk.sample(Unconditional(oracle), x0, y, integrator=Midpoint(), steps=100, guidance=guidance)
    assert errors_off(x, oracle.means[1]) < LIMIT
    unguided = fk.sample(Unconditional(oracle), x0, y, integrator=Midpoint(), steps=100)
    assert errors_off(unguided, oracle.means[1]) > 2 * LIMIT


def test_the_density_of_the_guided_model_is_that_of_the_label():
    """A likelihood differentiates the gradient once more. Midpoint does not ask at t = 0; it errs by O(h^2)."""
    oracle, guidance = with_classifier()
    x = oracle.sample(4, 1.0, seeded())
    times = torch.linspace(0, 1, 301, dtype=torch.float64)
    guided = guidance.guide(Unconditional(oracle))
    found = fk.log_prob(guided, x, Y, source=GaussianSource(), integrator=Midpoint(), times=times)
    torch.testing.assert_close(found, oracle.log_prob(x, 1.0, Y), rtol=0, atol=1e-3)


def test_a_sample_without_a_condition_is_not_guided():
    """In a doubled batch the half without labels must not be steered to the class of number -1."""
    oracle, guidance = with_classifier(scale=2.0)
    x = states()
    assert torch.equal(guidance.guide(oracle).velocity(x, 0.4, NONE), oracle.velocity(x, 0.4, NONE))
    found = Chain([guidance, ClassifierFreeGuidance(3.0)]).guide(oracle).velocity(x, 0.4, Y)
    guided, plain = guidance.guide(oracle).velocity(x, 0.4, Y), oracle.velocity(x, 0.4, NONE)
    torch.testing.assert_close(found, plain + 3 * (guided - plain))


@pytest.mark.parametrize(
    "y",
    [
        {"class": torch.tensor([1, 1, -1, 1]), "angle": torch.tensor([0.0, float("nan"), 0.0, 1.0])},
        torch.tensor([[0.0, 1.0], [float("nan")] * 2, [float("nan")] * 2, [0.0, 0.0]]),
    ],
    ids=["mapping", "vectors"],
)
def test_any_sort_of_condition_may_be_missing(y):
    oracle = mixture()
    guidance = ClassifierGuidance(lambda x, t, y: -x.square().sum(1))
    deaf = Unconditional(with_classifier()[0])
    change = guidance.guide(deaf).score(states(), 0.4, y) - oracle.score(states(), 0.4, None)
    assert change.any(1).tolist() == [True, False, False, True]


def test_anything_with_a_gradient_guides_a_model_without_conditions():
    """Towards the right: the samples without a condition move there."""
    oracle, _ = with_classifier()
    x0 = torch.randn(200, 2, generator=seeded(), dtype=torch.float64)
    guidance = ClassifierGuidance(lambda x, t, y: x[:, 0], 2.0)
    guided = fk.sample(oracle, x0, integrator=Euler(), steps=20, guidance=guidance)
    assert guided[:, 0].mean() > fk.sample(oracle, x0, integrator=Euler(), steps=20)[:, 0].mean() + 1


def test_noise_tells_a_classifier_nothing():
    oracle, guidance = with_classifier()
    deaf = Unconditional(oracle)
    assert torch.equal(guidance.guide(deaf).velocity(states(), 0.0, Y), deaf.velocity(states(), 0.0, Y))


def test_sampling_leaves_no_graph_behind():
    oracle, guidance = with_classifier()
    with torch.no_grad():
        velocity = guidance.guide(oracle).velocity(states(), 0.4, Y)
    assert not velocity.requires_grad


def test_a_path_that_does_not_relate_score_and_velocity_is_refused_before_sampling():
    oracle, guidance = with_classifier()
    oracle.path = BrownianBridge()
    with pytest.raises(UnsupportedError, match="classifier guidance changes the score, and BrownianBridge does not"):
        fk.sample(oracle, states(), Y, integrator=Euler(), guidance=guidance)
