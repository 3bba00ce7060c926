"""Where sampling starts: at any first time of a grid, in either direction, and with noise of the path's own."""

import pytest
import torch
from flowkit_gaussian.source import GaussianSource
from flowkit_interpolants.paths import Linear
from flowkit_ode.grids import UniformGrid
from flowkit_ode.rk4 import RK4
from flowkit_sde.coefficients import ConstantDiffusion
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import GaussianMixture, seeded
from schedules import PATH

from flowkit import Predictor, Quantity, Sampler, UnsupportedError, log_prob, sample

every_path = pytest.mark.parametrize("name", PATH)


def normal(name):
    """The field of data that are N(0, I): p_t is N(0, (alpha^2 + beta^2) I)."""
    return GaussianMixture([[0.0, 0.0]], [1.0], [1.0], name)


def noise(n=6):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


def grid(name, first, last, steps=80):
    """Times equally far apart in the noise level of the data, in which every schedule is smooth.

    With 60 steps RK4 was off by up to 9e-5, which falls with the fourth power of their number; the ends, which are not
    quite 1, count for more.
    """
    schedule = PATH[name].schedule
    ends = torch.tensor([first, last], dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    levels = torch.linspace(*schedule.log_snr(ends).tolist(), steps + 1, dtype=torch.float64)
    times = schedule.time_of_log_snr(levels)
    times[0], times[-1] = first, last
    return times


@every_path
@pytest.mark.parametrize("first", [0.1, 0.3])
def test_a_grid_may_start_after_0_and_samples_stay_as_wide_as_the_data(name, first):
    """The map from N(0, (alpha_s^2 + beta_s^2) I) to N(0, I) is a factor: x0 comes back."""
    found = sample(normal(name), noise(), integrator=RK4(), times=grid(name, first, 0.999999), path=PATH[name])
    torch.testing.assert_close(found, noise(), rtol=1e-4, atol=1e-4)


@every_path
def test_data_that_are_encoded_are_not_scaled_and_come_back(name):
    z, settings = noise(), {"integrator": RK4(), "path": PATH[name]}
    times = grid(name, 0.001, 0.999, steps=120)
    encoded = sample(normal(name), z, times=times.flip(0), **settings)
    wide = torch.hypot(PATH[name].schedule.alpha(times), PATH[name].schedule.beta(times))
    torch.testing.assert_close(encoded, z * wide[0] / wide[-1], rtol=1e-4, atol=1e-4)
    back = sample(normal(name), encoded / PATH[name].start_scale(float(times[0])), times=times, **settings)
    torch.testing.assert_close(back, z, rtol=1e-6, atol=1e-6)


@every_path
def test_a_density_starts_where_samples_do(name):
    settings = {"source": GaussianSource(), "integrator": RK4(), "path": PATH[name]}
    found = log_prob(normal(name), noise(), times=grid(name, 0.1, 0.999999), **settings)
    expected = torch.distributions.Normal(0, 1).log_prob(noise()).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@every_path
@pytest.mark.parametrize("first", [0.0, 0.5])
def test_a_grid_that_looks_at_models_looks_at_states_of_its_first_time(name, first):
    seen = []

    class Looking(UniformGrid):
        def fitted(self, ode, x):
            seen.append(x)
            return self

    sampler = Sampler(RK4(), Looking(first), steps=2)
    sampler.fitted(normal(name), PATH[name], noise())
    (state, *_) = sampler.trajectory(normal(name), PATH[name], noise())
    assert torch.equal(seen[0], state)


class Blurred(Predictor):
    """From N(0, 0.09) to N(0, 4), independent, with noise 0.7 throughout: p_t is N(0, v_t)."""

    quantities = (Quantity.VELOCITY, Quantity.SCORE)

    def can_predict(self, wanted):
        return wanted in self.quantities

    def predict(self, x, t, y, wanted):
        v = 4 * t**2 + 0.09 * (1 - t) ** 2 + 0.49
        half_slope = 4 * t - 0.09 * (1 - t)
        return tuple(x * half_slope / v if what is Quantity.VELOCITY else -x / v for what in wanted)


@pytest.mark.parametrize(
    ("integrator", "diffusion"), [(RK4(), None), (EulerMaruyama(), ConstantDiffusion(0.5))], ids=["ode", "sde"]
)
def test_a_path_with_noise_where_it_starts_is_sampled_from_there(integrator, diffusion):
    """Without that noise the deviation at t = 1 would be 0.83, not the root of 4.49."""
    n = 20_000
    x0 = 0.3 * torch.randn(n, generator=seeded(), dtype=torch.float64)[:, None]
    path = Linear("constant", 0.7)
    settings = {"integrator": integrator, "diffusion": diffusion, "steps": 400, "path": path}
    found = sample(Blurred(), x0, generator=seeded(1), **settings)
    # Four standard errors, and what Euler-Maruyama is off by with steps of 1/400.
    assert float(found.std()) == pytest.approx(4.49**0.5, rel=4 / (2 * n) ** 0.5 + (diffusion is not None) / 100)
    assert torch.equal(found, sample(Blurred(), x0, generator=seeded(1), **settings))


class FromAPoint(Predictor):
    """From the point 0 to N(0, 4), independent, with noise of variance 2 t (1 - t): p_t is N(0, v_t)."""

    quantities = (Quantity.VELOCITY,)

    def can_predict(self, wanted):
        return wanted in self.quantities

    def predict(self, x, t, y, wanted):
        return (x * (4 * t + 1 - 2 * t) / (4 * t**2 + 2 * t * (1 - t)),)


def test_a_grid_that_starts_after_0_starts_with_the_noise_of_the_path_there():
    """The field scales what it is given, so a start without noise would end as the one point that it began as."""
    n, s, path = 20_000, 0.1, Linear("brownian", 2.0**0.5)
    settings = {"integrator": RK4(), "times": torch.linspace(s, 1, 101).double(), "path": path}
    found = sample(FromAPoint(), torch.zeros(n, 1).double(), generator=seeded(1), **settings)
    there = 2 * s * (1 - s)
    expected = 4 * there / (4 * s**2 + there)  # what the data add by then is not known
    assert float(found.std()) == pytest.approx(expected**0.5, rel=4 / (2 * n) ** 0.5)


def test_a_path_with_noise_where_it_starts_has_no_known_density():
    settings = {"source": GaussianSource(), "integrator": RK4(), "times": [0.0, 1.0], "path": Linear("constant", 0.7)}
    with pytest.raises(UnsupportedError, match="choose a gamma that is 0 at t = 0"):
        log_prob(Blurred(), noise()[:, :1], **settings)
