"""CFG-Zero*: its formula, its projection, its beginning at rest."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_guidance import CFGZeroStar
from oracles import mixture, seeded

from flowkit import Quantity, UnsupportedError

Y = torch.tensor([0, 1, 2, 2])
NONE = torch.full_like(Y, -1)


def states():
    return torch.randn(4, 2, generator=seeded(), dtype=torch.float64)


def both(x, t):
    return mixture().velocity(x, t, Y), mixture().velocity(x, t, NONE)


def test_it_is_the_published_code():
    """`optimized_scale` of github.com/WeichenFan/CFG-Zero-star, without the 1e-8 of its denominator."""
    x = states()
    conditional, unconditional = both(x, 0.4)
    product = torch.sum(conditional * unconditional, dim=1, keepdim=True)
    alpha = product / torch.sum(unconditional**2, dim=1, keepdim=True)
    expected = unconditional * alpha + 3.0 * (conditional - unconditional * alpha)
    torch.testing.assert_close(CFGZeroStar(3.0).guide(mixture()).velocity(x, 0.4, Y), expected)


def test_it_moves_at_right_angles_to_the_unconditional_velocity():
    """What the scale multiplies is what no multiple of that velocity explains."""
    x = states()
    _, unconditional = both(x, 0.4)
    change = CFGZeroStar(3.0).guide(mixture()).velocity(x, 0.4, Y) - CFGZeroStar(2.0).guide(mixture()).velocity(
        x, 0.4, Y
    )
    torch.testing.assert_close((change * unconditional).sum(1), torch.zeros(4, dtype=torch.float64))
    assert (change.norm(dim=1) > 0.1).all()


def test_scale_1_is_the_conditional_model():
    x = states()
    torch.testing.assert_close(CFGZeroStar(1.0).guide(mixture()).velocity(x, 0.4, Y), both(x, 0.4)[0])


@pytest.mark.parametrize(
    ("zero_until", "at_rest"), [(None, []), (0.0, [0.0]), (0.1, [0.0, 0.05, 0.1])], ids=["never", "first", "a while"]
)
def test_it_begins_at_rest(zero_until, at_rest):
    guided, x = CFGZeroStar(3.0, zero_until).guide(mixture()), states()
    times = [0.0, 0.05, 0.1, 0.15]
    assert [t for t in times if not guided.velocity(x, t, Y).any()] == at_rest
    rest = ~guided.velocity(x, torch.tensor(times, dtype=torch.float64), Y).any(1)
    assert [t for t, stands in zip(times, rest, strict=True) if stands] == at_rest


def test_at_rest_the_score_is_that_of_no_velocity():
    """On straight lines u = D - N = 0 and x = t D + (1 - t) N leave D = N = x, so that the score is -x / (1 - t)."""
    oracle, x = mixture(), states()
    oracle.path = GaussianPath(CondOT())
    guided = CFGZeroStar(3.0, zero_until=0.1).guide(oracle)
    torch.testing.assert_close(guided.score(x, 0.1, Y), -x / 0.9)


def test_an_unconditional_velocity_of_0_explains_nothing():
    class Still(type(mixture())):
        def predict(self, x, t, y, wanted):
            moving = (y >= 0)[:, None].to(x)
            return tuple(moving.expand_as(x) for _ in wanted)

    still = Still([[0.0, 0.0]], [1.0], [1.0])
    found = CFGZeroStar(3.0).guide(still).predict(states(), 0.4, Y, (Quantity.VELOCITY,))[0]
    assert torch.equal(found, torch.full_like(found, 3.0))


def test_it_needs_a_condition_and_a_model_that_knows_none():
    assert CFGZeroStar().needs_dropped_conditions
    with pytest.raises(UnsupportedError, match="needs a condition y"):
        CFGZeroStar().guide(mixture()).velocity(states(), 0.5)
