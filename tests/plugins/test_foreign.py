"""Networks of other libraries: the same samples through their solver and through ours, and every convention of time.

The networks know the exact field of a mixture and speak it in the manner of their library. All is in float64 but for
what a library rounds itself.
"""

from types import SimpleNamespace

import pytest
import torch
from flowkit_exponential.ddim import DDIM
from flowkit_foreign import DiscreteChain, ForeignNetwork, from_diffusers, wrap
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_ode.euler import Euler
from flowkit_ode.midpoint import Midpoint
from oracles import mixture, seeded
from torch import nn

import flowkit as fk
from flowkit import ConfigError, Quantity, UnsupportedError

QUANTITIES = ("velocity", "score", "noise", "data", "v")


def states(n=6):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


def peer(module):
    return pytest.importorskip(module, reason=f"compares with {module}", exc_type=ImportError)


class Exact(nn.Module):
    """A field of the mixture, called in a manner that a subclass chooses; and what it was asked."""

    def __init__(self, quantity="velocity", schedule="condot"):
        super().__init__()
        self.oracle, self.quantity, self.asked = mixture(schedule), Quantity(quantity), []

    def field(self, x, t, y=None):
        return self.oracle.predict(x, torch.as_tensor(t).double(), y, (self.quantity,))[0]

    def forward(self, x, time, y=None):
        self.asked.append(time)
        return self.field(x, time, y)


# Conventions.


@pytest.mark.parametrize("time", ["data_at_0", "data_at_1"])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("predicts", QUANTITIES)
def test_every_field_comes_out_whatever_the_network_knows_and_how_it_counts(predicts, time, scale):
    """A network of data at s = 0 has the velocity dx/ds = -u, and the other fields as they are."""

    class Counting(Exact):
        def forward(self, x, time_, y=None):
            s = time_ / scale
            t, sign = (1 - s, -1 if predicts == "velocity" else 1) if time == "data_at_0" else (s, 1)
            return sign * self.field(x, t, y)

    model, x, t = wrap(Counting(predicts), predicts, time=time, time_scale=scale), states(), 0.3
    y = torch.tensor([0, 1, 2, -1, 0, 1])
    for found, expected in zip(
        model.predict(x, t, y, tuple(Quantity)), mixture().predict(x, t, y, tuple(Quantity)), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_velocity_along_1_minus_t_is_the_derivative_there():
    """By differences: the network's dx/ds carries a state at s to the state at s + h on the same trajectory."""
    z, x0, h = states(), torch.flip(states(), [0]), 1e-6

    class Straight(nn.Module):
        def forward(self, x, s):
            return x0 - z  # x = (1 - s) z + s x0, dx/ds

    model = wrap(Straight(), "velocity", time="data_at_0")
    path = GaussianPath(CondOT())
    before, after = (path.sample(x0, z, torch.full((6,), t, dtype=torch.float64)) for t in (0.3, 0.3 + h))
    torch.testing.assert_close((after - before) / h, model.velocity(before, 0.3), rtol=1e-6, atol=1e-6)


def test_times_are_scaled_shifted_rounded_and_kept_in_the_chain():
    network = ForeignNetwork(Exact(), lambda *_: None, data_at_0=True, scale=1000, offset=-1, whole=True)
    steps = network.time(torch.tensor([0.0, 0.001, 0.5, 0.999, 1.0]))
    assert steps.dtype == torch.int64
    assert steps.tolist() == [999, 998, 499, 0, 0]
    plain = ForeignNetwork(Exact(), lambda *_: None).time(torch.tensor([0.0, 0.5]))
    assert plain.tolist() == [0.0, 0.5]


def test_the_model_shares_the_weights_and_takes_gradients():
    inner = nn.Linear(3, 2)
    model = wrap(inner, "velocity", call=lambda network, x, t, y: network(torch.cat([x, t[:, None]], 1)))
    model.velocity(torch.ones(4, 2), 0.5).sum().backward()
    assert inner.weight.grad is not None
    assert set(dict(model.named_parameters())) == {"network.network.weight", "network.network.bias"}


@pytest.mark.parametrize("path", ["cosine", GaussianPath(CondOT())], ids=["name", "object"])
def test_the_path_is_named_or_given(path):
    model = wrap(Exact(), "velocity", path)
    assert isinstance(model.path, GaussianPath)
    assert path in (model.path, "cosine")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"predicts": "epsilon"}, "predicts should be one of velocity, score, noise, data, v; got 'epsilon'"),
        ({"predicts": "noise", "time": "backwards"}, "time should be 'data_at_0' or 'data_at_1'; got 'backwards'"),
        ({"predicts": "noise", "path": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        wrap(Exact(), **settings)


# torchcfm, flow_matching.


class Concatenated(Exact):
    """As the networks of torchcfm's tutorials: the time is the last column."""

    def forward(self, x_and_time):
        return self.field(x_and_time[:, :-1], x_and_time[:, -1])


class TimeFirst(Exact):
    """As the U-Net of torchcfm, and of torchdiffeq: network(t, x)."""

    def forward(self, t, x):
        return self.field(x, t)


@pytest.mark.parametrize(
    ("network", "call"),
    [
        (Concatenated(), lambda network, x, t, y: network(torch.cat([x, t[:, None]], dim=1))),
        (TimeFirst(), lambda network, x, t, y: network(t, x)),
    ],
    ids=["cat", "time first"],
)
def test_torchcfm_with_torchdiffeq_samples_alike(network, call):
    def theirs(t, x):
        return call(network, x, t.expand(len(x)), None)

    grid = torch.linspace(0, 1, 21, dtype=torch.float64)
    expected = peer("torchdiffeq").odeint(theirs, states(), grid, method="euler")[-1]
    found = fk.sample(wrap(network, "velocity", call=call), states(), integrator=Euler(), steps=20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_network_trained_with_torchcfm_is_a_model():
    """A step of theirs on their own network, and its samples through both solvers, in float32."""
    torch.manual_seed(0)
    network, matcher = peer("torchcfm.models").MLP(dim=2, time_varying=True), peer("torchcfm").ConditionalFlowMatcher()
    t, x, u = matcher.sample_location_and_conditional_flow(torch.randn(32, 2), torch.randn(32, 2))
    (network(torch.cat([x, t[:, None]], 1)) - u).square().mean().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    x0 = states().float()
    model = wrap(network, "velocity", call=lambda network, x, t, y: network(torch.cat([x, t[:, None]], 1)))
    found = fk.sample(model, x0, integrator=Midpoint(), steps=20)

    def theirs(t, x):
        return network(torch.cat([x, t.expand(len(x), 1)], 1))

    grid = torch.linspace(0, 1, 21)
    with torch.no_grad():
        expected = peer("torchdiffeq").odeint(theirs, x0, grid, method="midpoint")[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_flow_matching_samples_alike():
    """Its solver passes one time, its networks expand it."""
    network = Exact()
    solver = peer("flow_matching.solver").ODESolver(velocity_model=lambda x, t: network(x, t))
    grid = torch.tensor([0.0, 1.0], dtype=torch.float64)
    expected = solver.sample(states(), step_size=1 / 20, method="midpoint", time_grid=grid)
    found = fk.sample(wrap(network, "velocity"), states(), integrator=Midpoint(), steps=20)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# SiT.


class LikeSiT(Exact):
    """Called as SiT's networks: `network(x, t, y)` with a label for every sample, the one after the last for none."""

    def forward(self, x, t, y):
        assert t.shape == y.shape == (len(x),)
        assert y.dtype == torch.int64
        assert y.min() >= 0
        self.asked.append(y)
        return self.field(x, t, torch.where(y == 3, -1, y))


LABELS = torch.tensor([0, 1, 2, -1, 0, 1])


@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp"])
@pytest.mark.parametrize("predicts", ["velocity", "score", "noise"])
def test_a_network_called_as_those_of_sit_knows_labels_and_their_absence(predicts, schedule):
    network, x, t = LikeSiT(predicts, schedule), states(), torch.full((6,), 0.3, dtype=torch.float64)
    model = wrap(network, predicts, schedule, no_label=3)
    for y, theirs in [(LABELS, [0, 1, 2, 3, 0, 1]), (-torch.ones_like(LABELS), [3] * 6), (None, [3] * 6)]:
        found = model.predict(x, 0.3, y, (Quantity(predicts), Quantity.VELOCITY, Quantity.SCORE))
        assert network.asked[-1].tolist() == theirs
        assert torch.equal(found[0], network(x, t, torch.tensor(theirs)))
        expected = mixture(schedule).predict(x, 0.3, y, (Quantity.VELOCITY, Quantity.SCORE))
        for field, exact in zip(found[1:], expected, strict=True):
            torch.testing.assert_close(field, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp"])
def test_guided_samples_are_those_of_a_doubled_batch_in_the_manner_of_sit(schedule):
    """Euler's method by hand on half labels, half none, both guided: 20 steps of rounding."""
    network, y, h = LikeSiT(schedule=schedule), LABELS.clamp(min=0), 1 / 20
    model = wrap(network, "velocity", schedule, no_label=3)
    expected, both = states() * model.path.start_scale(0.0), torch.cat([y, torch.full_like(y, 3)])
    for k in range(20):
        times = torch.full((12,), k * h, dtype=torch.float64)
        labelled, without = network(torch.cat([expected, expected]), times, both).chunk(2)
        expected = expected + h * (without + 4 * (labelled - without))
    guidance = fk.create("guidance", "classifier_free", scale=4.0)
    found = fk.sample(model, states(), y, integrator=Euler(), steps=20, guidance=guidance)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("y", [{"label": LABELS}, LABELS.double()], ids=["mapping", "real"])
def test_a_label_for_none_is_refused_where_there_are_no_labels(y):
    with pytest.raises(UnsupportedError, match="no_label is for conditions that are integer labels"):
        wrap(LikeSiT(), "velocity", no_label=3).velocity(states(), 0.3, y)


# diffusers.


class Output:
    """What a UNet2DModel returns."""

    def __init__(self, sample):
        self.sample = sample


class Chain(Exact):
    """A field of the DDPM chain, called with timesteps 0...999."""

    def __init__(self, quantity):
        super().__init__(quantity, "ddpm")

    def forward(self, x, timesteps):
        assert timesteps.dtype == torch.int64
        t = 1 - (timesteps.double() + 1) / 1000
        return Output(self.field(x, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_every_timestep_arrives_as_it_is_whatever_the_type_of_the_state(dtype):
    """Of 1000, bfloat16 tells 256 or fewer apart in [1/2, 1]; the network casts as those of diffusers do."""
    asked = []

    class Network(nn.Module):
        def forward(self, x, timesteps):
            asked.append(timesteps)
            return x * torch.cos(timesteps / 1000)[:, None].to(x.dtype)

    products = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    scheduler = SimpleNamespace(alphas_cumprod=products, config=SimpleNamespace(prediction_type="epsilon"))
    model = from_diffusers(Network(), scheduler)
    steps = torch.tensor([1, 333, 334, 900, 998, 999])
    out = model.predict(states().to(dtype), 1 - (steps + 1).double() / 1000, None, (Quantity.NOISE,))[0]
    assert asked[0].tolist() == steps.tolist()
    assert out.dtype == dtype


@pytest.mark.parametrize(("prediction", "quantity"), [("epsilon", "noise"), ("v_prediction", "v"), ("sample", "data")])
def test_ddim_of_diffusers_samples_alike(prediction, quantity):
    """With its products in float64, as ours are; its last step goes to t = 1, where they are 1."""
    scheduler = peer("diffusers").DDIMScheduler(prediction_type=prediction, clip_sample=False, set_alpha_to_one=True)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    scheduler.set_timesteps(25)
    network, expected = Chain(quantity), states()
    for k in scheduler.timesteps:
        expected = scheduler.step(network(expected, k.expand(6)).sample, k, expected).prev_sample
    times = [*(1 - (scheduler.timesteps.double() + 1) / 1000).tolist(), 1.0]
    model = from_diffusers(network, scheduler)
    found = fk.sample(model, states(), integrator=DDIM(), times=times)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


CHAINS = {
    "stable diffusion": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "fewer steps": {"num_train_timesteps": 100},
}
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)


@every_chain
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim_of_diffusers_samples_alike_on_every_chain(chain, to_one):
    """Its products are in float32; both take them from there. Without `set_alpha_to_one` it ends at timestep 0."""

    class Some(nn.Module):
        def forward(self, x, timesteps):
            return torch.tanh(x * (0.5 + timesteps[:, None] / 2000))

    scheduler = peer("diffusers").DDIMScheduler(clip_sample=False, set_alpha_to_one=to_one, **chain)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    scheduler.set_timesteps(25)
    network, steps = Some(), len(scheduler.alphas_cumprod)
    expected = x0 = states()
    for k in scheduler.timesteps:
        expected = scheduler.step(network(expected, k.expand(6)), k, expected).prev_sample
    times = (1 - (scheduler.timesteps.double() + 1) / steps).tolist()
    if to_one:
        times = [*times, 1.0]
    else:  # the last step of diffusers is of no length
        assert times[-1] == 1 - 1 / steps
    model = from_diffusers(network, scheduler)
    begun = x0 / model.path.start_scale(times[0])
    found = fk.sample(model, begun, integrator=DDIM(), times=times)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@every_chain
def test_the_schedule_of_a_chain_has_its_products_and_grows_smoothly(chain):
    products = peer("diffusers").DDIMScheduler(**chain).alphas_cumprod
    schedule, steps = DiscreteChain(products), len(products)
    t = 1 - torch.arange(1, steps + 1, dtype=torch.float64) / steps
    torch.testing.assert_close(schedule.alpha(t).square(), products.double(), rtol=1e-12, atol=0)
    fine = torch.linspace(0, 1, 7 * steps, dtype=torch.float64)[1:-1].requires_grad_()
    assert (schedule.log_snr(fine).diff() > 0).all()
    for function, closed in ((schedule.alpha, schedule.alpha_dot), (schedule.beta, schedule.beta_dot)):
        (expected,) = torch.autograd.grad(function(fine).sum(), fine)
        torch.testing.assert_close(closed(fine).detach(), expected, rtol=1e-9, atol=1e-12)
    jump = (schedule.alpha_dot(t[:-1] - 1e-12) - schedule.alpha_dot(t[:-1] + 1e-12)).abs()
    assert (jump <= 1e-6 * schedule.alpha_dot(t[:-1])).all()
    assert schedule.alpha(torch.ones(1)).item() == 1
    assert schedule.beta(torch.ones(1)).item() == 0
    assert schedule.alpha(torch.rand(3, 2)).dtype == torch.float32
    time = schedule.time_of_log_snr(schedule.log_snr(t))
    torch.testing.assert_close(time, t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_of_diffusers_samples_alike(shift):
    """Its steps are rounded to float32, 20 of them, of sizes up to 4."""

    class Flow(Exact):
        def forward(self, x, timesteps):
            return Output(-self.field(x, 1 - timesteps.double() / 1000))  # noise - data

    scheduler = peer("diffusers").FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(20)
    network, expected = Flow(), states()
    for time in scheduler.timesteps:
        expected = scheduler.step(network(expected, time.expand(6)).sample, time, expected).prev_sample.double()
    times = (1 - scheduler.sigmas.double()).tolist()
    found = fk.sample(from_diffusers(network, scheduler), states(), integrator=Euler(), times=times)
    torch.testing.assert_close(found, expected, rtol=0, atol=20 * 4 * torch.finfo(torch.float32).eps)


def test_a_unet_of_diffusers_is_a_model():
    """The real one, with random weights, through its scheduler and through ours, in float32."""
    diffusers = peer("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(10)
    x = torch.randn(2, 1, 8, 8, generator=seeded())
    expected = x
    with torch.no_grad():
        for k in scheduler.timesteps:
            expected = scheduler.step(unet(expected, k).sample, k, expected).prev_sample
    times = [*(1 - (scheduler.timesteps.double() + 1) / 1000).tolist(), 1.0]
    model = from_diffusers(unet, scheduler)
    found = fk.sample(model, x, integrator=DDIM(), times=times)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            lambda d: d.DDIMScheduler(rescale_betas_zero_snr=True),
            "should fall from below 1 to above 0 with every step; the last is 0",
        ),
        (
            lambda d: d.KarrasVeScheduler() if hasattr(d, "KarrasVeScheduler") else d.EDMEulerScheduler(),
            "is neither of",
        ),
    ],
    ids=["no data left", "another family"],
)
def test_another_chain_of_diffusers_is_refused(scheduler, message):
    with pytest.raises(UnsupportedError, match=message):
        from_diffusers(Chain("noise"), scheduler(peer("diffusers")))
