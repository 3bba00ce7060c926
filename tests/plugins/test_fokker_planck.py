"""The density of the sampling SDE: its Fokker-Planck equation holds at every point, with every diffusion coefficient.

The drift is the package's, the density that of the oracle, and the derivatives are those of autograd in float64.
"""

import pytest
import torch
from flowkit_exact.gaussian_mixture import GaussianMixtureField
from flowkit_sde.coefficients import BetaDiffusion, ConstantDiffusion, LinearDiffusion, SBDMDiffusion
from oracles import mixture, seeded
from schedules import PATH

import flowkit as fk
from flowkit import ODE, SDE, Quantity

COEFFICIENTS = {
    "none": None,
    "constant": ConstantDiffusion(1.3),
    "beta": BetaDiffusion(2.0),
    "sbdm": SBDMDiffusion(),
    "linear": LinearDiffusion(0.7),
}


class Converted(fk.Predictor):
    """Only E[z|x] is known; all else is what the path makes of it."""

    def __init__(self, field, path):
        self.field, self.path = field, path

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        data = self.field.denoise(x, t, y)
        return tuple(self.path.convert(data, x, t, Quantity.DATA, quantity) for quantity in wanted)


def gradient(value, of):
    return torch.autograd.grad(value.sum(), of, create_graph=True)[0]


def divergence(field, x):
    return sum(gradient(field[:, i], x)[:, i] for i in range(x.shape[1]))


def both_sides(dynamics, oracle, x, t):
    """dp/dt, and -div(p drift) + sigma^2/2 lap p, each shape (batch,)."""
    time = torch.full((len(x),), t, dtype=torch.float64, requires_grad=True)
    in_time = gradient(oracle.log_prob(x, time).exp(), time)
    x = x.clone().requires_grad_()
    density = oracle.log_prob(x, t).exp()
    transport = -divergence(density[:, None] * dynamics.drift(x, t), x)
    spreading = dynamics.diffusion(t) ** 2 / 2 * divergence(gradient(density, x), x)
    return in_time.detach(), (transport + spreading).detach()


@pytest.mark.parametrize("converted", [False, True], ids=["exact", "converted"])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.85])
@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp", "edm", "polynomial"])
def test_the_density_moves_as_the_drift_and_the_noise_say(schedule, coefficient, t, converted):
    oracle, path, sigma = mixture(schedule), PATH[schedule], COEFFICIENTS[coefficient]
    field = GaussianMixtureField(path, oracle.means, oracle.stds.square(), oracle.weights)
    model = Converted(field, path) if converted else field
    dynamics = ODE(model, path=path) if sigma is None else SDE(model, sigma, path=path)
    in_time, by_the_equation = both_sides(dynamics, oracle, oracle.sample(50, t, seeded()), t)
    torch.testing.assert_close(by_the_equation, in_time, rtol=1e-8, atol=1e-10 * float(in_time.abs().max()))
