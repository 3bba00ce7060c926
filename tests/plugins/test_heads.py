"""The heads: given the exact quantity as network output, the model has the exact fields, whichever quantity it is."""

import azula.denoise
import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.edm import EDMHead
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead, VHead
from oracles import LIMIT, SCHEDULES, GaussianMixture, errors_off, mixture, seeded
from torch import nn

import flowkit as fk
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


# EDM.


class Wavy(nn.Module):
    """Some function of (x, t), beside what it was last called with."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, x, t, y=None):
        self.seen = x, t, y
        return self.scale.to(x.dtype) * torch.sin(3 * x + t.reshape(-1, *(1,) * (x.ndim - 1)))


def coefficients(name, t):
    """alpha and beta, by the formulas of the oracle."""
    alpha, beta_squared = SCHEDULES[name]
    return alpha(t)[:, None], beta_squared(t).sqrt()[:, None]


@every_schedule
def test_the_edm_head_is_the_denoiser_of_azula(name):
    """For data of unit variance, which is what azula's is made for. Its network is given ln(sigma)."""

    class Retimed(Wavy):
        def forward(self, x, log_sigma):
            return super().forward(x, 1 / (1 + log_sigma.exp()))

    t = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    x = torch.randn(25, 2, generator=seeded(), dtype=torch.float64)
    peer = azula.denoise.KarrasDenoiser(Retimed(), lambda t: tuple(value[:, 0] for value in coefficients(name, t)))
    model = Model(Wavy(), EDMHead(sigma_data=1.0), PATH[name])
    torch.testing.assert_close(model.denoise(x, t), peer(x, t).mean, rtol=1e-9, atol=1e-12)


@every_schedule
@pytest.mark.parametrize("sigma_data", [0.5, 2.0])
@torch.no_grad()
def test_what_the_edm_network_sees_and_what_it_should_return_have_variance_one(name, sigma_data):
    z, x0 = torch.randn(2, 20_000, 1, generator=seeded(), dtype=torch.float64)
    network, z = Wavy(), sigma_data * z
    model = Model(network, EDMHead(sigma_data), PATH[name])
    for time in (0.05, 0.5, 0.95):
        alpha, beta = coefficients(name, torch.full((20_000,), time, dtype=torch.float64))
        denoised = model.denoise(alpha * z + beta * x0, time)
        seen, _, _ = network.seen
        assert errors_off(seen.square(), 1) < LIMIT
        # D = c_skip x + c_out F with the c_out of the paper: what F should be for D to be z.
        c_out = sigma_data * beta / (beta**2 + alpha**2 * sigma_data**2).sqrt()
        target = (z - (denoised - c_out * network(*network.seen))) / c_out
        assert errors_off(target.square(), 1) < LIMIT


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_edm_head_is_finite_from_noise_to_data_and_returns_the_data_there(name, dtype):
    x = torch.randn(3, 2, generator=seeded()).to(dtype)
    network = Wavy()
    model = Model(network, EDMHead(), PATH[name])
    for t in torch.linspace(0, 1, 21).tolist():
        assert model.denoise(x, t).isfinite().all()
        assert ((network.seen[1] >= 0) & (network.seen[1] <= 1)).all()
    assert torch.equal(model.denoise(x, 1.0), x)


def test_the_edm_network_is_told_the_noise_level_and_not_the_time():
    """At the times where two schedules have one noise level it sees the same; on the straight path that is the time."""
    network, levels = Wavy(), torch.linspace(-4, 4, 9, dtype=torch.float64)
    x = torch.ones(9, 2, dtype=torch.float64)
    seen = {}
    for name, path in PATH.items():
        t = path.schedule.time_of_log_snr(levels)
        Model(network, EDMHead(), path).denoise(path.schedule.alpha(t)[:, None] * x, t)
        seen[name] = torch.cat([network.seen[0], network.seen[1][:, None]], dim=1)
        torch.testing.assert_close(seen[name], seen["condot"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(seen["condot"][:, 2], PATH["condot"].schedule.time_of_log_snr(levels))


def test_the_edm_head_passes_images_and_conditions():
    network, y = Wavy(), torch.tensor([1, 2])
    x = torch.randn(2, 3, 4, 5, generator=seeded(), dtype=torch.float64)
    model = Model(network, EDMHead(), PATH["cosine"])
    assert model.velocity(x, torch.tensor([0.2, 0.7], dtype=torch.float64), y).shape == x.shape
    assert network.seen[2] is y


def test_the_edm_head_needs_a_path_with_a_schedule():
    class Straight(fk.Path):
        def sample(self, x0, z, t, generator=None):
            return torch.lerp(x0, z, t[:, None])

        def velocity(self, x, x0, z, t):
            return z - x0

    assert EDMHead().problems(PATH["vp"]) == VelocityHead().problems(Straight()) == []
    with pytest.raises(fk.ConfigError, match=r"head: head 'edm' needs a path with a schedule; Straight has none"):
        fk.Pipeline.builder().data("moons").path(Straight()).head("edm").loss("data").build()
    with pytest.raises(fk.UnsupportedError, match="pass path"):
        EDMHead().predict(Wavy(), torch.zeros(1, 2), torch.zeros(1))


def test_edm_trains_and_samples(tiny, tmp_path):
    pipeline = tiny.head("edm", sigma_data=1.0).loss("edm", weighting={"name": "edm", "sigma_data": 1.0}).build()
    pipeline.fit(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run")
    assert torch.equal(again.sample(64), pipeline.sample(64))
    assert pipeline.sample(64).isfinite().all()
