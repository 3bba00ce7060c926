"""The weightings: closed forms in the log-SNR, the same loss on every quantity, and finite wherever training draws."""

import math

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_losses.weightings import (
    EDMWeighting,
    LikelihoodWeighting,
    MinSNRWeighting,
    NoiseVarianceWeighting,
    SigmoidWeighting,
    SNRWeighting,
    UnitWeighting,
    VelocityWeighting,
)
from oracles import SCHEDULES

from flowkit import Path, Quantity, UnsupportedError

PATHS = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
WEIGHTINGS = {
    "unit": UnitWeighting(),
    "noise_variance": NoiseVarianceWeighting(),
    "velocity": VelocityWeighting(),
    "snr": SNRWeighting(),
    "min_snr": MinSNRWeighting(5.0),
    "likelihood": LikelihoodWeighting(),
    "edm": EDMWeighting(0.5),
    "sigmoid": SigmoidWeighting(-1.0),
}
every_path = pytest.mark.parametrize("name", PATHS)
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS)


class Formulas:
    """What a schedule gives, from the formulas of the oracle and autograd."""

    def __init__(self, name):
        alpha, beta_squared = SCHEDULES[name]
        self.t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64).requires_grad_()
        self.alpha, self.beta_squared = alpha(self.t), beta_squared(self.t)
        self.log_snr = (self.alpha**2 / self.beta_squared).log()
        self.snr, self.slope = self.log_snr.exp(), self.derivative(self.log_snr)
        self.alpha_dot, self.beta_dot = self.derivative(self.alpha), self.derivative(self.beta_squared.sqrt())

    def derivative(self, value):
        return torch.autograd.grad(value.sum(), self.t, retain_graph=True)[0]


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


ON = {  # on the errors of the noise and of the data
    "snr": (lambda f: torch.ones_like(f.t), lambda f: f.snr),
    "min_snr": (lambda f: (5 / f.snr).clamp(max=1), lambda f: f.snr.clamp(max=5)),
    "velocity": (
        lambda f: (f.beta_dot - f.beta_squared.sqrt() * f.alpha_dot / f.alpha) ** 2,
        lambda f: (f.alpha_dot - f.alpha * f.beta_dot / f.beta_squared.sqrt()) ** 2,
    ),
    "likelihood": (lambda f: f.slope, lambda f: f.slope * f.snr),
    "edm": (
        lambda f: (1 / f.snr + 0.25) / 0.25,  # (sigma^2 + sigma_data^2) / sigma_data^2
        lambda f: (1 / f.snr + 0.25) / (0.25 / f.snr),
    ),
    "sigmoid": (
        lambda f: f.slope * sigmoid(-1 - f.log_snr),
        lambda f: f.slope * math.exp(-1) * sigmoid(f.log_snr + 1),  # as Hoogeboom et al. 2024 write it for the data
    ),
}


@every_path
@pytest.mark.parametrize("weighting", ON)
def test_weightings_are_their_closed_forms(weighting, name):
    f, built = Formulas(name), WEIGHTINGS[weighting]
    for quantity, formula in zip((Quantity.NOISE, Quantity.DATA), ON[weighting], strict=True):
        weight = built.weight_on(quantity, f.t.detach(), PATHS[name])
        torch.testing.assert_close(weight, formula(f).detach(), rtol=1e-9, atol=0)


@every_path
def test_the_likelihood_weighting_is_the_square_of_the_diffusion_coefficient(name):
    """g^2 = d beta^2/dtau - 2 beta^2 d log alpha/dtau of the SDE towards noise, whose time is tau = 1 - t."""
    f = Formulas(name)
    squared = -f.derivative(f.beta_squared) + 2 * f.beta_squared * f.alpha_dot / f.alpha
    weight = LikelihoodWeighting().weight(f.t.detach(), PATHS[name])
    torch.testing.assert_close(weight, squared.detach(), rtol=1e-9, atol=0)
    if name == "vp":  # the rate, which the schedule is made of
        torch.testing.assert_close(weight, (0.1 + 19.9 * (1 - f.t)).detach(), rtol=1e-9, atol=0)


@every_path
def test_unit_and_the_variance_of_the_noise_weigh_the_error_of_whatever_is_regressed(name):
    t, path = torch.linspace(0, 1, 11, dtype=torch.float64), PATHS[name]
    for quantity in Quantity:
        assert (UnitWeighting().weight_on(quantity, t, path) == 1).all()
        variance = NoiseVarianceWeighting().weight_on(quantity, t, path)
        torch.testing.assert_close(variance, SCHEDULES[name][1](t))


def test_the_sigmoid_weighting_is_bounded_on_the_velocity_of_the_straight_path():
    """2 r / (1 + e^-b r^2) with r = t / (1 - t), which is at most e^(b/2)."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[1:-1]
    for bias in (-2.0, 0.0, 2.0):
        weight = SigmoidWeighting(bias).weight_on(Quantity.VELOCITY, t, PATHS["condot"])
        assert float(weight.max()) == pytest.approx(math.exp(bias / 2), rel=1e-3)


@every_path
@every_weighting
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_are_finite_wherever_training_draws(weighting, name, dtype):
    gap = torch.finfo(dtype).eps
    t = torch.cat([torch.linspace(0, 1, 1001), torch.tensor([gap, 1 - gap])]).to(dtype).clamp(gap, 1 - gap)
    for quantity in Quantity:
        weight = WEIGHTINGS[weighting].weight_on(quantity, t, PATHS[name])
        assert weight.dtype == dtype
        assert weight.isfinite().all()
        assert (weight >= 0).all()


def is_refused_at_the_data(weighting, name, quantity):
    """Infinite weights, scores where beta is 0, and velocities where the derivative of beta is infinite."""
    if weighting in ("snr", "edm"):
        return True
    if weighting in ("likelihood", "sigmoid"):
        return name == "vp" or quantity is not Quantity.SCORE
    return weighting == "velocity" and name == "vp" and quantity is not Quantity.VELOCITY


@every_path
@every_weighting
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_at_the_ends_a_weight_is_finite_or_refused(weighting, name, end, dtype):
    t = torch.full((2,), end, dtype=dtype)
    for quantity in Quantity:
        if end == 1 and is_refused_at_the_data(weighting, name, quantity):
            with pytest.raises(UnsupportedError, match=r"beta is 0|a derivative of the schedule is infinite"):
                WEIGHTINGS[weighting].weight_on(quantity, t, PATHS[name])
        else:
            assert WEIGHTINGS[weighting].weight_on(quantity, t, PATHS[name]).isfinite().all()


class NoSchedule(Path):
    """Straight lines between the points of any two distributions: a velocity and no more."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, t[:, None])

    def velocity(self, x, x0, z, t):
        return z - x0


@every_weighting
def test_a_path_that_a_weighting_does_not_go_with_is_refused_by_name(weighting):
    built = WEIGHTINGS[weighting]
    assert built.problems(PATHS["condot"]) == []
    if weighting in ("unit", "velocity"):
        assert built.problems(NoSchedule()) == []
    else:
        assert all("NoSchedule" in problem for problem in built.problems(NoSchedule()))
        assert built.problems(NoSchedule())
