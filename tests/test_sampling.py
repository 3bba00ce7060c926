"""Sampling: what is solved, at which times, from which seed, and what is refused before it starts."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_guidance.classifier_free import ClassifierFreeGuidance
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead
from flowkit_ode.euler import Euler
from flowkit_ode.explicit import ExplicitGrid
from flowkit_ode.grids import UniformGrid
from flowkit_ode.heun import Heun
from flowkit_ode.midpoint import Midpoint
from flowkit_ode.rk4 import RK4
from flowkit_sde.coefficients import BetaDiffusion, ConstantDiffusion
from flowkit_sde.euler_maruyama import EulerMaruyama
from oracles import GaussianMixture, Wide, mixture, seeded
from torch import nn

from flowkit import ODE, SDE, Model, Path, Predictor, Quantity, Sampler, UnsupportedError, expand_time, sample

PATH = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
}
CONDOT = PATH["condot"]


class Straight(Path):
    """A path with a velocity and no way to another quantity."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, expand_time(t, z))

    def velocity(self, x, x0, z, t):
        return z - x0


class Linear(nn.Module):
    """Weights that need gradients, and finite outputs everywhere."""

    def __init__(self, outputs=1):
        super().__init__()
        self.inner = nn.Linear(2, 2 * outputs, dtype=torch.float64)

    def forward(self, x, t, y=None):
        return self.inner(x)


class VelocityOnly(Predictor):
    """Not a `Model`: a closed form that knows nothing but its velocity."""

    def can_predict(self, wanted):
        return wanted is Quantity.VELOCITY

    def predict(self, x, t, y, wanted):
        return tuple(-x for _ in wanted)


def noise(n=6):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64)


def times(steps):
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


# What is solved.


def test_noise_is_carried_to_the_data_along_the_exact_map():
    """N(0, I) to N(m, s^2 I) along straight lines: x_1 = m + s x_0. RK4 with 100 steps errs by about 100^-4 = 1e-8."""
    oracle, x0 = GaussianMixture([[1.0, -2.0]], [0.5], [1.0]), noise()
    expected = oracle.means[0] + 0.5 * x0
    found = sample(oracle, x0, integrator=RK4(), steps=100, path=CONDOT)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_noise_is_scaled_to_where_the_path_starts():
    """From N(0, 9 I) the map is x_1 = m + s x_start / 3, and x_start = 3 x_0."""
    oracle, x0, path = GaussianMixture([[1.0, -2.0]], [0.5], [1.0], "wide"), noise(), GaussianPath(Wide())
    assert path.start_scale(0.0) == 3
    expected = oracle.means[0] + 0.5 * x0
    found = sample(oracle, x0, integrator=RK4(), steps=100, path=path)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    states = list(Sampler(RK4(), UniformGrid(), steps=100).trajectory(oracle, path, x0))
    assert torch.equal(states[0], 3 * x0)
    assert torch.equal(states[-1], found)


def test_dynamics_count_the_evaluations_of_the_model():
    ode = ODE(mixture())
    RK4().integrate(ode, noise(), times(10))
    assert (ode.evaluations, ode.rejected) == (40, 0)
    sde = SDE(mixture(), ConstantDiffusion(1.0), path=CONDOT)
    EulerMaruyama().integrate(sde, noise(), times(10), seeded())
    assert sde.evaluations == 10


def test_a_path_is_not_taken_for_a_condition_nor_a_condition_for_a_path():
    """The two have names, and no places that could be mixed up."""
    for dynamics in (lambda: ODE(mixture(), CONDOT), lambda: SDE(mixture(), ConstantDiffusion(1.0), CONDOT)):
        with pytest.raises(TypeError, match="positional argument"):
            dynamics()


def test_an_integrator_with_noise_of_its_own_takes_no_coefficient():
    class Renoising(Euler):
        stochastic = True
        own_noise = True

    settings = {"integrator": Renoising(), "steps": 5}
    assert "chooses its noise and ignores a diffusion coefficient" in refusal(
        mixture(), diffusion=ConstantDiffusion(1.0), **settings
    )
    assert sample(VelocityOnly(), noise(), path=CONDOT, **settings).isfinite().all()  # and needs no score


def test_an_integrator_can_ask_for_more_than_a_drift():
    class Denoising(Euler):
        needs = (Quantity.DATA,)

        def step(self, dynamics, x, t, s, generator=None):
            (data,) = dynamics.predict(x, t, self.needs)
            return data

        def problems(self, path):
            return [] if path.schedule else ["Denoising needs a schedule"]

    oracle, x0 = mixture(), noise()
    found = sample(oracle, x0, integrator=Denoising(), steps=1, path=CONDOT)
    torch.testing.assert_close(found, oracle.denoise(x0, 0.0))
    assert "Denoising needs the data, which this model does not give" in refusal(
        VelocityOnly(), integrator=Denoising(), steps=1
    )
    assert "Denoising needs a schedule" in refusal(VelocityOnly(), Straight(), integrator=Denoising(), steps=1)


def test_the_steps_are_equal_ones_from_0_to_1_unless_times_are_given():
    oracle, x0 = mixture(), noise()
    expected = Euler().integrate(ODE(oracle), x0, times(10))
    assert torch.equal(sample(oracle, x0, integrator=Euler(), steps=10, path=CONDOT), expected)
    for given in (times(10), times(10).tolist()):
        assert torch.equal(sample(oracle, x0, integrator=Euler(), times=given, path=CONDOT), expected)
    uneven = [0.0, 0.2, 0.9, 1.0]
    expected = Euler().integrate(ODE(oracle), x0, uneven)
    assert torch.equal(sample(oracle, x0, integrator=Euler(), times=uneven, path=CONDOT), expected)


def test_a_grid_lays_as_many_steps_as_it_is_asked_for():
    oracle, x0 = mixture(), noise()
    for grid, settings, count in ((UniformGrid(0.1), {"steps": 5}, 5), (UniformGrid(0.1), {}, 50)):
        expected = Sampler(Euler(), grid.times(count)).sample(oracle, CONDOT, x0)
        assert torch.equal(sample(oracle, x0, integrator=Euler(), times=grid, path=CONDOT, **settings), expected)


@pytest.mark.parametrize("given", [[0.0, 0.5, 1.0], times(3), ExplicitGrid([0.0, 0.5, 1.0])], ids=type)
def test_steps_beside_times_that_are_given_are_refused(given):
    """They would make no difference."""
    settings = {"integrator": Euler(), "times": given}
    assert "steps=5 makes no difference beside times that are given" in refusal(mixture(), steps=5, **settings)
    assert sample(mixture(), noise(), path=CONDOT, **settings).isfinite().all()


def test_a_model_brings_its_own_path():
    model, x0 = Model(Linear(), VelocityHead(), CONDOT), noise()
    found = sample(model, x0, integrator=Heun(), steps=5)
    assert torch.equal(found, sample(model, x0, integrator=Heun(), steps=5, path=PATH["cosine"]))


def test_sampling_records_no_gradients_and_leaves_the_noise_alone():
    model, x0 = Model(Linear(), VelocityHead(), CONDOT), noise()
    found = sample(model, x0, integrator=Heun(), steps=5)
    assert not found.requires_grad
    assert torch.equal(x0, noise())


def test_a_compiled_network_gives_the_same_samples_under_the_same_names():
    model, x0 = Model(Linear(), VelocityHead(), CONDOT), noise()
    expected, names = sample(model, x0, integrator=Euler(), steps=4), list(model.state_dict())
    model.network.compile(backend="eager", fullgraph=True)
    assert torch.equal(sample(model, x0, integrator=Euler(), steps=4), expected)
    assert list(model.state_dict()) == names


def test_one_time_for_all_samples_is_computed_with_once():
    seen = []

    class Watching(Linear):
        def forward(self, x, t, y=None):
            seen.append(t)
            return super().forward(x, t, y)

    Model(Watching(), VelocityHead(), CONDOT).velocity(noise(), 0.25)
    assert seen[0].shape == (6,)
    assert seen[0].stride() == (0,)
    assert bool((seen[0] == 0.25).all())


def test_a_stochastic_integrator_solves_the_sde_of_its_coefficient():
    oracle, x0 = mixture(), noise()
    for diffusion in (ConstantDiffusion(0.8), BetaDiffusion(0.8)):
        found = sample(
            oracle, x0, integrator=EulerMaruyama(), steps=20, path=CONDOT, diffusion=diffusion, generator=seeded(4)
        )
        expected = EulerMaruyama().integrate(SDE(oracle, diffusion, path=CONDOT), x0, times(20), seeded(4))
        assert torch.equal(found, expected)


def test_with_a_generator_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    settings = {"integrator": EulerMaruyama(), "steps": 5, "path": CONDOT, "diffusion": ConstantDiffusion(1.0)}
    first, again, other = (sample(mixture(), noise(), generator=seeded(seed), **settings) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_sample_is_carried_under_its_own_condition():
    """Under the label k the data are component k alone, and the map is x_1 = m_k + s_k x_0 (see above)."""
    oracle, x0, y = mixture(), noise(), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = oracle.means[y] + oracle.stds[y][:, None] * x0
    found = sample(oracle, x0, y, integrator=RK4(), steps=100, path=CONDOT)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_an_sde_follows_the_condition_too():
    oracle, x0, y = mixture(), noise(), torch.tensor([0, 1, 2, 2, 1, 0])
    settings = {"integrator": EulerMaruyama(), "times": times(20), "diffusion": ConstantDiffusion(0.8)}
    found = sample(oracle, x0, y, path=CONDOT, generator=seeded(4), **settings)
    expected = EulerMaruyama().integrate(
        SDE(oracle, ConstantDiffusion(0.8), path=CONDOT, y=y), x0, times(20), seeded(4)
    )
    assert torch.equal(found, expected)
    assert not torch.allclose(found, sample(oracle, x0, path=CONDOT, generator=seeded(4), **settings))


def test_guidance_steers_by_the_condition_and_is_refused_without():
    oracle, x0, y = mixture(), noise(), torch.tensor([0, 1, 2, 2, 1, 0])
    guidance = ClassifierFreeGuidance(3.0)
    settings = {"integrator": Euler(), "steps": 10}
    expected = sample(guidance.guide(oracle), x0, y, path=CONDOT, **settings)
    assert torch.equal(sample(oracle, x0, y, path=CONDOT, guidance=guidance, **settings), expected)
    assert not torch.allclose(expected, sample(oracle, x0, y, path=CONDOT, **settings))
    assert "ClassifierFreeGuidance steers by the condition: give y" in refusal(oracle, guidance=guidance, **settings)


# Trajectories and grids.


@pytest.mark.parametrize("event", [(2,), (2, 4, 4)])
def test_a_trajectory_has_a_state_of_the_same_shape_for_every_time(event):
    oracle = GaussianMixture(torch.randn(3, *event, generator=seeded(1)), [0.7, 0.6, 0.8], [0.5, 0.2, 0.3])
    x0 = torch.randn(5, *event, generator=seeded(), dtype=torch.float64)
    sampler = Sampler(Euler(), UniformGrid(), steps=7)
    states = list(sampler.trajectory(oracle, CONDOT, x0))
    assert [state.shape for state in states] == [(5, *event)] * 8
    assert len(sampler.grid(CONDOT)) == 8
    assert torch.equal(states[0], x0)
    assert torch.equal(states[-1], sampler.sample(oracle, CONDOT, x0))


def test_a_stochastic_trajectory_ends_where_sampling_with_its_seed_ends():
    sampler = Sampler(EulerMaruyama(), UniformGrid(), steps=7, diffusion=BetaDiffusion(1.0))
    *_, last = sampler.trajectory(mixture(), CONDOT, noise(), generator=seeded(3))
    assert torch.equal(last, sampler.sample(mixture(), CONDOT, noise(), generator=seeded(3)))


def test_a_trajectory_has_the_marginals_of_the_path_as_one_gaussian_shows():
    """At each time the exact map is x_t = t m + sqrt(t^2 s^2 + (1 - t)^2) x_0."""
    oracle, x0 = GaussianMixture([[1.0, -2.0]], [0.5], [1.0]), noise()
    sampler = Sampler(RK4(), UniformGrid(), steps=100)
    for t, x in zip(sampler.grid(), sampler.trajectory(oracle, CONDOT, x0), strict=True):
        expected = t * oracle.means[0] + (t**2 * 0.25 + (1 - t) ** 2) ** 0.5 * x0
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-6)


def test_the_grid_is_numbers_whatever_it_was_given_as():
    assert Sampler(Euler(), UniformGrid(0.0, 0.5), steps=2).grid() == [0.0, 0.25, 0.5]
    assert Sampler(Euler(), [0.0, 0.25, 1.0]).grid() == [0.0, 0.25, 1.0]
    assert Sampler(Euler(), torch.tensor([0.0, 0.25, 1.0])).grid() == [0.0, 0.25, 1.0]


# What is refused, with a sentence that says why.


def refusal(model, path=CONDOT, **settings):
    with pytest.raises(UnsupportedError) as caught:
        sample(model, noise(), path=path, **settings)
    return str(caught.value)


def test_a_predictor_that_cannot_give_a_score_is_refused_by_an_sde():
    settings = {"integrator": EulerMaruyama(), "steps": 5, "diffusion": ConstantDiffusion(1.0)}
    sentence = "EulerMaruyama needs the score, which this model does not give"
    assert refusal(VelocityOnly(), **settings) == sentence
    assert refusal(Model(Linear(), VelocityHead(), Straight()), Straight(), **settings) == sentence


def test_a_predictor_that_cannot_give_a_velocity_is_refused():
    sentence = "Euler needs the velocity, which this model does not give"
    assert refusal(Model(Linear(), ScoreHead(), Straight()), Straight(), integrator=Euler(), steps=5) == sentence


def test_a_model_without_a_path_needs_one():
    with pytest.raises(UnsupportedError, match=r"does not say its path: pass path=\.\.\."):
        sample(mixture(), noise(), integrator=Euler(), steps=5)


def test_an_sde_needs_a_coefficient_and_an_ode_takes_none():
    assert "EulerMaruyama solves an SDE and needs a diffusion coefficient" in refusal(
        mixture(), integrator=EulerMaruyama(), steps=5
    )
    assert "Heun solves an ODE and ignores a diffusion coefficient" in refusal(
        mixture(), integrator=Heun(), steps=5, diffusion=ConstantDiffusion(1.0)
    )
    with pytest.raises(UnsupportedError, match="give it a diffusion coefficient"):
        Sampler(EulerMaruyama(), times(5)).dynamics(mixture(), CONDOT)


def test_a_coefficient_that_does_not_go_with_the_path_is_refused():
    model = Model(Linear(2), JointHead(), Straight())
    settings = {"integrator": EulerMaruyama(), "steps": 5}
    assert "needs a path with a schedule" in refusal(model, Straight(), diffusion=BetaDiffusion(1.0), **settings)
    found = sample(model, noise(), diffusion=ConstantDiffusion(1.0), generator=seeded(), **settings)
    assert found.isfinite().all()


@pytest.mark.parametrize("steps", [0, -1])
def test_sampling_without_steps_is_refused(steps):
    """It would return the noise."""
    with pytest.raises((UnsupportedError, ValueError)):
        sample(mixture(), noise(), integrator=Euler(), steps=steps, path=CONDOT)


def test_all_that_is_wrong_is_said_at_once():
    text = refusal(VelocityOnly(), integrator=EulerMaruyama(), steps=5)
    assert "needs a diffusion coefficient" in text
    assert "needs the score" in text


@pytest.mark.parametrize("head", [NoiseHead(), DataHead(), ScoreHead()], ids=type)
def test_a_velocity_that_is_not_determined_at_the_end_is_refused_where_it_is_evaluated(head):
    """The vp schedule has an infinite slope at t = 1, which only Heun and RK4 look at."""
    model, x0 = Model(Linear(), head, PATH["vp"]), noise()
    for integrator in (Heun(), RK4()):
        text = refusal(model, integrator=integrator, steps=5, path=None)
        assert text.startswith("at t = 1: the velocity is not determined")
        assert "'end' inside (0, 1)" in text
        assert sample(model, x0, integrator=integrator, times=[0.0, 0.5, 0.99]).isfinite().all()
    for integrator in (Euler(), Midpoint()):
        assert sample(model, x0, integrator=integrator, steps=5).isfinite().all()


@pytest.mark.parametrize("name", PATH)
@pytest.mark.parametrize("head", [VelocityHead(), NoiseHead(), DataHead(), ScoreHead(), JointHead()], ids=type)
def test_every_head_on_every_schedule_can_be_sampled_by_ode_and_sde(head, name):
    model = Model(Linear(head.outputs), head, PATH[name])
    assert sample(model, noise(), integrator=Midpoint(), steps=4).isfinite().all()
    for diffusion in (ConstantDiffusion(0.5), BetaDiffusion(0.5)):
        found = sample(model, noise(), integrator=EulerMaruyama(), steps=4, diffusion=diffusion, generator=seeded())
        assert found.isfinite().all()
