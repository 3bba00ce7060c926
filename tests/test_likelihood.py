"""The likelihood of the ODE against densities known in closed form."""

import math

import pytest
import torch
from flowkit_exponential.ddim import DDIM
from flowkit_exponential.dpmpp_2m import DPMpp2M
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_gaussian.source import GaussianSource
from flowkit_heads.heads import VelocityHead
from flowkit_ode.euler import Euler
from flowkit_ode.grids import UniformGrid
from flowkit_ode.heun import Heun
from flowkit_ode.midpoint import Midpoint
from flowkit_ode.rk4 import RK4
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import GaussianMixture, Wide, mixture, seeded
from torch import nn

from flowkit import Model, Predictor, Quantity, Source, UnsupportedError, log_prob

NORMAL = torch.distributions.Normal(0, 1)


class Field(Predictor):
    """A velocity given as a function of x and t."""

    def __init__(self, function):
        self.function = function

    def can_predict(self, wanted):
        return wanted is Quantity.VELOCITY

    def predict(self, x, t, y, wanted):
        return (self.function(x, t),)


def settings(integrator=None, steps=50):
    return {"source": GaussianSource(), "integrator": integrator or RK4(), "times": UniformGrid().times(steps)}


def states(*shape):
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64)


@pytest.mark.parametrize("schedule", ["condot", "cosine"])
@pytest.mark.parametrize(
    ("integrator", "steps"), [(RK4(), 50), (Heun(), 200), (Midpoint(), 200)], ids=["RK4", "Heun", "Midpoint"]
)
def test_the_log_density_of_a_mixture_is_found_to_a_thousandth(schedule, integrator, steps):
    """Also far out, 5 deviations from all components; Heun and midpoint err by O(h^2), with h = 1/200 up to 3e-4."""
    oracle = mixture(schedule)
    x = torch.cat([oracle.sample(20, 1.0, seeded()), torch.tensor([[5.0, 5.0], [-6.0, 0.0]], dtype=torch.float64)])
    found = log_prob(oracle, x, **settings(integrator, steps))
    assert found.shape == (22,)
    torch.testing.assert_close(found, oracle.log_prob(x), rtol=0, atol=1e-3)


def test_the_density_counts_where_the_path_starts():
    """From N(0, 9 I), of a path that is named or of one that the model brings."""
    oracle, path = mixture("wide"), GaussianPath(Wide())
    x = oracle.sample(20, 1.0, seeded())
    torch.testing.assert_close(log_prob(oracle, x, path=path, **settings()), oracle.log_prob(x), rtol=0, atol=1e-3)
    oracle.path = path
    torch.testing.assert_close(log_prob(oracle, x, **settings()), oracle.log_prob(x), rtol=0, atol=1e-3)


def test_it_converges_with_the_order_of_the_integrator():
    oracle, x = mixture(), mixture().sample(20, 1.0, seeded())

    def error(integrator, steps):
        return float((log_prob(oracle, x, **settings(integrator, steps)) - oracle.log_prob(x)).abs().max())

    assert error(Euler(), 100) / error(Euler(), 200) == pytest.approx(2, rel=0.15)  # 2^(order +- 0.2)
    assert error(Midpoint(), 50) / error(Midpoint(), 100) == pytest.approx(4, rel=0.15)


def test_the_condition_is_conditioned_on():
    oracle, y = mixture(), torch.tensor([0, 1, 2, -1])
    x = states(4, 2)
    found = log_prob(oracle, x, y, **settings())
    torch.testing.assert_close(found, oracle.log_prob(x, 1.0, y), rtol=0, atol=1e-3)


def test_the_log_density_of_images():
    means = torch.randn(2, 1, 3, 2, generator=seeded(1), dtype=torch.float64)
    oracle, x = GaussianMixture(means, [0.7, 0.9], [0.4, 0.6]), states(3, 1, 3, 2)
    torch.testing.assert_close(log_prob(oracle, x, **settings()), oracle.log_prob(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rate", [0.7, -0.7])
def test_spreading_out_lowers_the_density_by_hand(rate):
    """dx/dt = c x takes x_0 to x_0 e^c: log p(x) = log N(x e^-c) - d c. RK4 errs by about (c / 20)^4 / 100 = 1e-8."""
    x = states(5, 3)
    found = log_prob(Field(lambda x, t: rate * x), x, **settings(steps=20))
    expected = NORMAL.log_prob(x * torch.tensor(-rate).double().exp()).sum(1) - 3 * rate
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_turn_changes_no_density():
    """Without divergence, and |x| kept: the density stays the standard normal."""
    turn = torch.tensor([[0.0, 2.0], [-2.0, 0.0]], dtype=torch.float64)
    x = states(5, 2)
    found = log_prob(Field(lambda x, t: x @ turn), x, **settings())
    torch.testing.assert_close(found, NORMAL.log_prob(x).sum(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("speed", [lambda t: 1.0, lambda t: 2 * t], ids=["constant", "of the time"])
def test_a_field_need_not_depend_on_the_state(speed):
    """Everything moves by 1, and log p(x) = log N(x - 1; 0, I). Midpoint is exact for both speeds."""
    x = states(5, 2)
    found = log_prob(Field(lambda x, t: torch.full_like(x, speed(t))), x, **settings(Midpoint(), steps=10))
    torch.testing.assert_close(found, NORMAL.log_prob(x - 1).sum(1), rtol=0, atol=1e-10)


def test_a_point_has_its_density_whatever_else_is_in_the_batch():
    oracle, x = mixture(), states(6, 2)
    together = log_prob(oracle, x, **settings(steps=20))
    alone = torch.cat([log_prob(oracle, x[i : i + 1], **settings(steps=20)) for i in range(6)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_model_with_weights_has_a_density_and_no_gradients(dtype):
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2, dtype=dtype)

        def forward(self, x, t, y=None):
            return self.inner(x)

    x = states(5, 2).to(dtype)
    model = Model(Linear(), VelocityHead(), GaussianPath(CondOT()))
    with torch.no_grad():
        found = log_prob(model, x, **settings(steps=10))
    assert found.dtype == dtype
    assert not found.requires_grad
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_sde_integrator_is_refused():
    with pytest.raises(UnsupportedError, match="EulerMaruyama draws noise, and a likelihood follows the ODE"):
        log_prob(mixture(), states(2, 2), **settings(EulerMaruyama()))


@pytest.mark.parametrize(
    ("integrator", "needs"), [(DDIM(), "the data and the noise"), (DPMpp2M(), "the data")], ids=["ddim", "dpmpp"]
)
def test_an_integrator_of_other_fields_than_the_velocity_is_refused(integrator, needs):
    """Even where the model has all of them: the divergence is that of the velocity."""
    match = f"needs {needs}, and a likelihood follows the velocity .*: choose an integrator that needs the velocity"
    with pytest.raises(UnsupportedError, match=match):
        log_prob(mixture(), states(2, 2), **settings(integrator))


class Bound(Euler):
    """Keeps the state where `kept` puts it."""

    def __init__(self, kept):
        self.kept = kept

    def step(self, dynamics, x, t, s, generator=None):
        return self.kept(super().step(dynamics, x, t, s, generator))


def on_the_sphere(x):
    return nn.functional.normalize(x, dim=-1)


def on_the_torus(x):
    return (x + math.pi) % (2 * math.pi) - math.pi


def in_the_box(x):
    return x.clamp(-1, 1)


@pytest.mark.parametrize("times", [[0.0, 0.5, 1.0], [0.0, 1 - 1e-7, 1.0], [0.0, 1.0, 1.0]], ids=str)
@pytest.mark.parametrize("kept", [on_the_sphere, on_the_torus, in_the_box])
def test_an_integrator_that_keeps_the_state_somewhere_is_refused_and_no_density_made_up(kept, times):
    with pytest.raises(UnsupportedError, match=r"^Bound does more to a state than follow the drift"):
        log_prob(mixture(), states(3, 2), **settings(Bound(kept)) | {"times": times})


@pytest.mark.parametrize("times", [[1.0, 0.5, 0.0], [0.0, 0.6, 0.5, 1.0], [0.5, 0.5], [0.5], []], ids=str)
def test_times_that_do_not_rise_are_refused(times):
    with pytest.raises(UnsupportedError, match="times must rise, from the source to the data; got"):
        log_prob(mixture(), states(2, 2), **settings() | {"times": times})


def test_a_source_without_a_density_is_refused_by_name():
    class Opaque(Source):
        def sample(self, n, event_shape, generator=None, device="cpu", dtype=torch.float32): ...

    with pytest.raises(UnsupportedError, match="Opaque has no log_prob"):
        log_prob(mixture(), states(2, 2), **{**settings(steps=2), "source": Opaque()})
