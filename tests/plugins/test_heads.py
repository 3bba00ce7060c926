"""The heads: given the exact quantity as network output, the model has the exact fields, whichever quantity it is."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead, VHead
from oracles import GaussianMixture, mixture, seeded
from torch import nn

from flowkit import Model, Quantity

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
HEADS = {
    "velocity": (VelocityHead(), (Quantity.VELOCITY,)),
    "score": (ScoreHead(), (Quantity.SCORE,)),
    "noise": (NoiseHead(), (Quantity.NOISE,)),
    "data": (DataHead(), (Quantity.DATA,)),
    "v": (VHead(), (Quantity.V,)),
    "joint": (JointHead(), (Quantity.VELOCITY, Quantity.SCORE)),
}
every_head = pytest.mark.parametrize("head", HEADS)
every_schedule = pytest.mark.parametrize("name", PATH)


class Perfect(nn.Module):
    """A network that has learned some fields of the oracle exactly, side by side on the first event axis."""

    def __init__(self, oracle, quantities):
        super().__init__()
        self.oracle, self.quantities = oracle, quantities

    def forward(self, x, t, y=None):
        assert t.shape == (len(x),)
        return torch.cat(self.oracle.predict(x, t, y, self.quantities), dim=1)


def perfect_model(head, name, oracle):
    head, quantities = HEADS[head]
    return Model(Perfect(oracle, quantities), head, PATH[name], data_mean=oracle.mean)


@every_schedule
@every_head
def test_the_model_has_the_fields_of_the_oracle(head, name):
    oracle = mixture(name)
    model = perfect_model(head, name, oracle)
    x = 2 * torch.randn(25, 2, generator=seeded(), dtype=torch.float64)
    tolerance = {"rtol": 1e-9, "atol": 1e-9}  # conversions magnify rounding by up to 1 / alpha and 1 / beta, here 150
    for t in (0.02, 0.5, 0.98, torch.linspace(0.02, 0.98, 25, dtype=torch.float64)):
        torch.testing.assert_close(model.velocity(x, t), oracle.velocity(x, t), **tolerance)
        torch.testing.assert_close(model.score(x, t), oracle.score(x, t), **tolerance)
        torch.testing.assert_close(model.denoise(x, t), oracle.denoise(x, t), **tolerance)
        all_of_them = tuple(Quantity)
        for mine, exact in zip(
            model.predict(x, t, None, all_of_them), oracle.predict(x, t, None, all_of_them), strict=True
        ):
            torch.testing.assert_close(mine, exact, **tolerance)


@every_head
@pytest.mark.parametrize("event", [(1, 2, 3), (4, 2, 2)])
def test_the_outputs_for_an_image_lie_side_by_side_on_its_channels(head, event):
    means = torch.randn(3, *event, generator=seeded(1), dtype=torch.float64)
    oracle = GaussianMixture(means, [0.7, 0.6, 0.8], [0.5, 0.2, 0.3])
    x = torch.randn(5, *event, generator=seeded(), dtype=torch.float64)
    model = perfect_model(head, "condot", oracle)
    assert model.velocity(x, 0.4).shape == x.shape
    torch.testing.assert_close(model.velocity(x, 0.4), oracle.velocity(x, 0.4))
    torch.testing.assert_close(model.score(x, 0.4), oracle.score(x, 0.4))


@every_head
def test_a_head_says_which_outputs_it_needs(head):
    built, quantities = HEADS[head]
    assert built.quantities == quantities
    assert built.outputs == len(quantities)


@every_head
def test_the_condition_reaches_the_network(head):
    oracle, y = mixture(), torch.tensor([0, 1, 2, -1])
    x = torch.randn(4, 2, generator=seeded(), dtype=torch.float64)
    model = perfect_model(head, "condot", oracle)
    torch.testing.assert_close(model.velocity(x, 0.5, y), oracle.velocity(x, 0.5, y))
    assert not torch.allclose(model.velocity(x, 0.5, y), model.velocity(x, 0.5))


def test_a_joint_model_uses_each_output_for_its_own_field():
    """The two need not agree: what was learned for a field is what is returned for it."""

    class Disagreeing(nn.Module):
        def forward(self, x, t, y=None):
            return torch.cat([torch.full_like(x, 1.0), torch.full_like(x, 2.0)], dim=1)

    model, x = Model(Disagreeing(), JointHead(), PATH["condot"]), torch.zeros(3, 2)
    assert (model.velocity(x, 0.5) == 1).all()
    assert (model.score(x, 0.5) == 2).all()


def test_a_network_with_too_few_outputs_for_its_head_is_an_error():
    class One(nn.Module):
        def forward(self, x, t, y=None):
            return x[:, :1]

    with pytest.raises(ValueError, match="shorter"):
        Model(One(), JointHead(), PATH["condot"]).velocity(torch.zeros(3, 2), 0.5)
