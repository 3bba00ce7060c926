"""The model: what it asks of its network, which fields it gives, and what it refuses."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead
from oracles import seeded
from torch import nn

import flowkit as fk
from flowkit import Model, Path, Quantity, UnsupportedError

CONDOT = GaussianPath(CondOT())


class Scaled(nn.Module):
    """(1 + t) x, and a record of what it was asked."""

    def __init__(self, outputs=1):
        super().__init__()
        self.outputs, self.asked = outputs, []

    def forward(self, x, t, y=None):
        self.asked.append((x, t, y))
        out = (1 + fk.expand_time(t, x)) * x
        return torch.cat([out] * self.outputs, dim=1)


class Straight(Path):
    """A path with a velocity and no way to another quantity."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, fk.expand_time(t, z))

    def velocity(self, x, x0, z, t):
        return z - x0


def states(n=4, dtype=torch.float32):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_network_sees_one_time_a_sample_in_the_type_of_the_state_and_float32_at_least(dtype):
    network = Scaled()
    model, x = Model(network, VelocityHead(), CONDOT), states(dtype=dtype)
    for t in (0.25, torch.tensor(0.25, dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)):
        assert torch.equal(model.velocity(x, t), 1.25 * x)
        _, seen, y = network.asked.pop()
        assert seen.shape == (4,)
        assert seen.dtype == torch.promote_types(dtype, torch.float32)
        assert (seen == 0.25).all()
        assert y is None
    for t in (1 / 3, torch.full((4,), 1 / 3, dtype=torch.float64)):
        model.velocity(x, t)
        assert ((network.asked.pop()[1].double() - 1 / 3).abs() <= torch.finfo(torch.float32).eps / 2).all()


def test_a_time_for_each_sample_stays_with_its_sample():
    model, x, t = Model(Scaled(), NoiseHead(), CONDOT), states(dtype=torch.float64), torch.tensor([0.1, 0.4, 0.6, 0.9])
    t = t.double()
    for field in (model.velocity, model.score, model.denoise):
        together = field(x, t)
        for i in range(4):
            torch.testing.assert_close(together[i : i + 1], field(x[i : i + 1], float(t[i])))


def test_several_fields_cost_one_call_of_the_network():
    network = Scaled()
    model, x = Model(network, VelocityHead(), CONDOT), states(dtype=torch.float64)
    fields = model.predict(x, 0.5, None, (Quantity.SCORE, Quantity.VELOCITY, Quantity.DATA))
    assert len(network.asked) == 1
    for field, alone in zip(fields, (model.score, model.velocity, model.denoise), strict=True):
        torch.testing.assert_close(field, alone(x, 0.5))


def test_fields_by_hand():
    """u = 1.5 x at t = 1/2 of straight lines: D = x + u / 2 = 1.75 x, N = x - u / 2 = x / 4, s = -N / beta = -x / 2."""
    model, x = Model(Scaled(), VelocityHead(), CONDOT), states(dtype=torch.float64)
    torch.testing.assert_close(model.velocity(x, 0.5), 1.5 * x)
    torch.testing.assert_close(model.denoise(x, 0.5), 1.75 * x)
    torch.testing.assert_close(model.predict(x, 0.5, None, (Quantity.NOISE,))[0], 0.25 * x)
    torch.testing.assert_close(model.score(x, 0.5), -0.5 * x)


def test_calling_the_model_gives_the_velocity():
    model, x = Model(Scaled(), DataHead(), CONDOT), states()
    assert torch.equal(model(x, 0.5), model.velocity(x, 0.5))


def test_the_condition_reaches_the_network_as_it_is():
    network = Scaled()
    y = {"class": torch.arange(4)}
    Model(network, VelocityHead(), CONDOT).score(states(), 0.5, y)
    assert network.asked[0][2] is y


def test_what_is_known_of_the_data_decides_where_all_is_noise():
    """At t = 0 of straight lines x = x0, so u = E[z] - x, whatever the network says of the noise."""
    x, mean = states(dtype=torch.float64), torch.tensor([0.5, -2.0])
    model = Model(Scaled(), NoiseHead(), CONDOT, data_mean=mean)
    torch.testing.assert_close(model.denoise(x, 0.0), mean.double().expand_as(x))
    torch.testing.assert_close(model.velocity(x, 0.0), mean - x)
    assert (Model(Scaled(), NoiseHead(), CONDOT).denoise(x, 0.0) == 0).all()


def test_the_mean_of_the_data_is_saved_with_the_weights():
    first, second = (Model(nn.Linear(2, 2), NoiseHead(), CONDOT, data_mean=mean) for mean in (0.75, 0.0))
    second.load_state_dict(first.state_dict())
    assert second.data_mean == 0.75
    assert "data_mean" not in dict(first.named_parameters())


def test_the_time_is_not_rounded_to_the_type_of_the_state_before_converting():
    """1 - t = 1e-4 is 0 in bfloat16, where the score would be refused."""
    model, x = Model(Scaled(), NoiseHead(), CONDOT), states(dtype=torch.bfloat16)
    score = model.score(x, 1 - 1e-4)
    torch.testing.assert_close(score, -2e4 * x, rtol=0.02, atol=0)  # a few roundings of 2^-8
    each = model.score(x, torch.full((4,), 1 - 1e-4, dtype=torch.float64))
    torch.testing.assert_close(each, -2e4 * x, rtol=0.02, atol=0)


def test_gradients_reach_the_network_through_every_field():
    network = nn.Linear(2, 2).double()

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, t, y=None):
            return self.inner(x)

    model = Model(Plain(), NoiseHead(), CONDOT)
    for field in (model.velocity, model.score, model.denoise):
        network.zero_grad()
        field(states(dtype=torch.float64), 0.5).square().sum().backward()
        assert network.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("head", [VelocityHead(), ScoreHead(), NoiseHead(), DataHead(), JointHead()], ids=type)
def test_on_a_gaussian_path_a_model_gives_everything(head):
    model = Model(Scaled(head.outputs), head, GaussianPath(Cosine()))
    assert all(model.can_predict(quantity) for quantity in Quantity)
    assert all(field.shape == (4, 2) for field in model.predict(states(), 0.5, None, tuple(Quantity)))


@pytest.mark.parametrize("head", [VelocityHead(), ScoreHead(), JointHead()], ids=type)
def test_on_a_path_without_conversions_a_model_gives_what_its_head_predicts(head):
    model = Model(Scaled(head.outputs), head, Straight())
    for quantity in Quantity:
        assert model.can_predict(quantity) == (quantity in head.quantities)
        if quantity in head.quantities:
            torch.testing.assert_close(model.predict(states(), 0.5, None, (quantity,))[0], 1.5 * states())


def test_a_field_that_cannot_be_had_is_refused_by_name():
    sentence = "this model predicts the velocity and score, from which Straight gives no data"
    with pytest.raises(UnsupportedError, match=sentence):
        Model(Scaled(2), JointHead(), Straight()).denoise(states(), 0.5)


def test_a_path_without_a_score_says_so():
    path, x = Straight(), states()
    assert path.schedule is None
    assert not path.has_score
    assert CONDOT.has_score
    with pytest.raises(UnsupportedError, match="Straight has no score"):
        path.score(x, x, x, torch.full((4,), 0.5))
    with pytest.raises(UnsupportedError, match="Straight cannot turn a velocity into a score"):
        path.convert(x, x, 0.5, Quantity.VELOCITY, Quantity.SCORE)


# Shapes.


@pytest.mark.parametrize("event", [(), (2,), (3, 4, 4)])
def test_a_coefficient_multiplies_each_sample(event):
    t, x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), torch.ones(3, *event)
    expanded = fk.expand_time(t, x)
    assert expanded.dtype == x.dtype
    assert [(expanded * x)[i].unique().item() for i in range(3)] == [1, 2, 3]
    assert fk.expand_time(t[1], x).shape == ()


def test_a_look_at_a_batch_does_not_wait_for_a_device_nor_break_a_graph():
    some = torch.tensor([False, True])
    assert fk.holds_anywhere(some)
    assert fk.holds_anywhere(True)
    assert not fk.holds_anywhere(~some & some)
    assert not fk.holds_anywhere(some.to("meta"))  # bool() of which would fail
    seen = torch.compile(lambda where: fk.holds_anywhere(where), backend="eager", fullgraph=True)
    assert seen(some) is False


def test_times_are_on_the_device_of_the_state():
    """The meta device computes nothing and is there on every machine."""
    x = torch.empty(3, 2, device="meta")
    for t in (0.5, torch.tensor(0.5), torch.rand(3)):
        assert fk.batch_times(t, x).device == x.device


@pytest.mark.parametrize("wanted", ["data", ("data",), Quantity.DATA, ["data"]])
def test_fields_are_asked_for_by_name_too(wanted):
    model = Model(Scaled(), VelocityHead(), CONDOT)
    x = states()
    (found,) = model.predict(x, 0.5, None, wanted)
    (expected,) = model.predict(x, 0.5, None, (Quantity.DATA,))
    assert torch.equal(found, expected)
    with pytest.raises(UnsupportedError, match=r"'banana' is not a valid Quantity: take one of velocity, score"):
        model.predict(x, 0.5, None, ("banana",))
