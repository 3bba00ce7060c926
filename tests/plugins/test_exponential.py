"""The exponential integrators: order of convergence, what they solve exactly, the ends, and what they refuse."""

import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from flowkit_exponential.adams_bashforth import ExponentialAdamsBashforth
from flowkit_exponential.ddim import DDIM
from flowkit_exponential.dpmpp_2m import DPMpp2M
from flowkit_exponential.dpmpp_2s import DPMpp2S
from flowkit_exponential.dpmpp_3m import DPMpp3M
from flowkit_exponential.unipc import UniPC
from flowkit_exponential.weights import divided_difference, interpolation, midpoint, phi, trapezoid
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine, VariancePreserving
from flowkit_heads.heads import DataHead, JointHead, NoiseHead, ScoreHead, VelocityHead, VHead
from flowkit_ode.euler import Euler
from flowkit_ode.rk4 import RK4
from oracles import Wide, mixture, seeded
from scipy.integrate import quad
from torch import nn

import flowkit as fk
from flowkit import ODE, Dynamics, Model, Path, Predictor, Quantity, UnsupportedError

# The integrator, its order, and its evaluations a step where lambda is finite.
INTEGRATORS = {
    "ddim": (DDIM(), 1, 1),
    "dpmpp_2s": (DPMpp2S(), 2, 2),
    "dpmpp_2m": (DPMpp2M(), 2, 1),
    "dpmpp_3m": (DPMpp3M(), 2, 1),
    "unipc-2": (UniPC(), 3, 1),
    "unipc-3": (UniPC(predictor_order=3), 3, 1),
    "exponential_ab-2": (ExponentialAdamsBashforth(), 2, 1),
    "exponential_ab-3": (ExponentialAdamsBashforth(order=3), 3, 1),
}
every_integrator = pytest.mark.parametrize("name", INTEGRATORS)
PATHS = {
    "condot": GaussianPath(CondOT()),
    "cosine": GaussianPath(Cosine()),
    "vp": GaussianPath(VariancePreserving()),
    "wide": GaussianPath(Wide()),
}
every_path = pytest.mark.parametrize("schedule", PATHS)
UNEVEN = [0.0, 0.03, 0.2, 0.25, 0.6, 0.7, 0.95, 1.0]


class Known(Predictor):
    """A data prediction that depends on the time alone, D = f(lambda) in every element, with the noise to it."""

    def __init__(self, path, data):
        self.path, self.function, self.seen = path, data, []

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        self.seen.append(t)
        data = torch.full_like(x, self.function(lambda_of(self.path, t)))
        return tuple(self.path.convert(data, x, t, Quantity.DATA, quantity) for quantity in wanted)


class OneGaussian(Predictor):
    """Data N(1, 1/4) in every element, whose flow is x_t = alpha + sqrt(alpha^2 / 4 + beta^2) xi with a fixed xi."""

    def __init__(self, path):
        self.path = path

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        alpha, beta, std = self.at(t)
        scaled = (x - alpha) / std**2
        fields = {Quantity.DATA: 1 + alpha / 4 * scaled, Quantity.NOISE: beta * scaled}
        return tuple(fields[quantity].to(x.dtype) for quantity in wanted)

    def at(self, t):
        t = torch.tensor(t, dtype=torch.float64)
        alpha, beta = float(self.path.schedule.alpha(t)), float(self.path.schedule.beta(t))
        return alpha, beta, math.sqrt(alpha**2 / 4 + beta**2)

    def solution(self, x, t, s):
        (alpha_t, _, std_t), (alpha_s, _, std_s) = self.at(t), self.at(s)
        return alpha_s + std_s / std_t * (x - alpha_t)


class Wave(nn.Module):
    """Finite outputs everywhere, in the type of the state."""

    def __init__(self, outputs=1):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, t, y=None):
        out = torch.cos(3 * x.flip(1)) + t[:, None].to(x.dtype)
        return torch.cat([out] * self.outputs, dim=1)


def noise(n=20, dtype=torch.float64):
    return torch.randn(n, 2, generator=seeded(), dtype=torch.float64).to(dtype)


def lambda_of(path, t):
    return float(path.schedule.log_snr(torch.tensor(t, dtype=torch.float64))) / 2


def times(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def even_in_lambda(path, steps, start, end):
    low, high = path.schedule.log_snr(torch.tensor([start, end], dtype=torch.float64)).tolist()
    return path.schedule.time_of_log_snr(torch.linspace(low, high, steps + 1, dtype=torch.float64))


def slopes(error_of, steps):
    """The order seen between one number of steps and twice as many."""
    errors = [error_of(n) for n in steps]
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


# The order.


@cache
def solution(schedule, start, end):
    """By RK4 on the velocity, 300 steps of which err by about (0.5 / 300)^4 = 8e-12."""
    return RK4().integrate(ODE(mixture(schedule)), noise(), times(300, start, end))


@every_integrator
@pytest.mark.parametrize("grid", ["even in t", "even in lambda", "alternating"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_error_falls_with_the_order_of_the_method(name, grid, backwards):
    """The next term of an error of order p is below the leading one by a few h, here a few 0.5 / 60."""
    integrator, order, _ = INTEGRATORS[name]
    schedule = "cosine" if grid == "even in lambda" else "condot"
    path, start, end = PATHS[schedule], 0.3, 0.8
    x, exact = noise(), solution(schedule, start, end)
    if backwards:
        x, exact = exact, x

    def error(steps):
        points = even_in_lambda(path, steps, start, end) if grid == "even in lambda" else times(steps, start, end)
        if grid == "alternating":  # steps of 3/2 and 1/2 of the mean: neighbours always differ
            points[1:-1:2] += points.diff()[0] / 2
        points = points.flip(0) if backwards else points
        return float((integrator.integrate(ODE(mixture(schedule), path=path), x, points) - exact).norm())

    assert slopes(error, [60, 120, 240]) == pytest.approx([order] * 2, abs=0.2)
    assert integrator.order == order


@every_integrator
@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp"])
def test_on_nearly_the_whole_interval_the_error_falls_at_least_with_the_order(name, schedule):
    """Where sampling starts D hardly changes with lambda, so the errors of the first steps are small at first."""
    integrator, order, _ = INTEGRATORS[name]
    path, start, end = PATHS[schedule], 0.02, 0.98
    model = OneGaussian(path)

    def error(steps):
        found = integrator.integrate(ODE(model, path=path), noise(), even_in_lambda(path, steps, start, end))
        return float((found - model.solution(noise(), start, end)).norm())

    assert min(slopes(error, [80, 160])) > order - 0.2


@every_integrator
@pytest.mark.parametrize("schedule", ["condot", "cosine"])
def test_from_noise_to_data_the_ends_leave_order_two(name, schedule):
    """Steps near the ends err by O(h^2), up to powers of log h: with its square, 2 looks like 1.63 from 160 to 320."""
    integrator, order, _ = INTEGRATORS[name]
    model, path = OneGaussian(PATHS[schedule]), PATHS[schedule]

    def error(steps):
        found = integrator.integrate(ODE(model, path=path), noise(), times(steps))
        return float((found - model.solution(noise(), 0.0, 1.0)).norm())

    assert slopes(error, [160, 320])[0] > min(order, 1.63) - 0.05


# What they solve exactly.


@every_integrator
@every_path
@pytest.mark.parametrize("grid", [UNEVEN, UNEVEN[2:], UNEVEN[-2::-1]], ids=["from 0", "from 0.2", "to 0"])
def test_a_constant_data_prediction_is_solved_exactly_on_any_grid(name, schedule, grid):
    """x_s = (beta_s / beta_t) x_t + (alpha_s - alpha_t beta_s / beta_t) D at all times of the grid."""
    path, x = PATHS[schedule], noise()
    model = Known(path, lambda _: 0.7)
    states = INTEGRATORS[name][0].trajectory(ODE(model, path=path), x, grid)
    t = torch.tensor(grid, dtype=torch.float64)
    alpha, beta = path.schedule.alpha(t), path.schedule.beta(t)
    for state, a, b in zip(states, alpha, beta, strict=True):
        decay = b / beta[0]
        torch.testing.assert_close(state, decay * x + (a - alpha[0] * decay) * 0.7, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("order", [2, 3])
@every_path
def test_adams_bashforth_solves_polynomials_in_lambda_below_its_order_exactly(order, schedule):
    """Once it has as many values as its order: the integral is compared with quadrature from there on."""
    path = PATHS[schedule]
    data = [lambda v: 0.5 - v, lambda v: 0.5 - v + 0.3 * v * v][order - 2]
    grid, x = [0.2, 0.25, 0.4, 0.5, 0.8, 0.93], torch.zeros(1, 1, dtype=torch.float64)
    states = list(ExponentialAdamsBashforth(order).trajectory(ODE(Known(path, data), path=path), x, grid))
    t = torch.tensor(grid, dtype=torch.float64)
    alpha, beta = path.schedule.alpha(t).tolist(), path.schedule.beta(t).tolist()
    for i in range(order - 1, len(grid) - 1):
        low, high = lambda_of(path, grid[i]), lambda_of(path, grid[i + 1])
        integral, _ = quad(lambda v, high=high: math.exp(v - high) * data(v), low, high, epsabs=1e-13)
        expected = beta[i + 1] / beta[i] * states[i] + alpha[i + 1] * integral
        torch.testing.assert_close(states[i + 1], expected, rtol=0, atol=1e-11)


def test_ddim_is_eulers_method_on_the_straight_path():
    """s D + (1 - s) N = x + (s - t) (D - N) for x = t D + (1 - t) N."""
    ode, x = ODE(mixture(), path=PATHS["condot"]), noise()
    for grid in (UNEVEN[:-1], UNEVEN[-2::-1]):
        torch.testing.assert_close(DDIM().integrate(ode, x, grid), Euler().integrate(ode, x, grid), rtol=0, atol=1e-12)


@every_integrator
def test_only_the_ratio_of_alpha_to_beta_matters(name):
    """x / (alpha + beta) of any path is the straight path's x, at the time of equal ratio."""
    integrator, schedule = INTEGRATORS[name][0], Cosine()
    t = torch.tensor(UNEVEN, dtype=torch.float64)
    scale = schedule.alpha(t) + schedule.beta(t)
    straight = integrator.trajectory(ODE(mixture(), path=PATHS["condot"]), noise(), schedule.alpha(t) / scale)
    bent = integrator.trajectory(ODE(mixture("cosine"), path=PATHS["cosine"]), noise(), t)
    for a, b, c in zip(straight, bent, scale, strict=True):
        torch.testing.assert_close(c * a, b, rtol=0, atol=1e-11)


# The ends.


@every_integrator
@every_path
def test_one_step_from_noise_to_data_is_the_data_prediction(name, schedule):
    x, path = noise(), PATHS[schedule]
    oracle = mixture(schedule)
    found = INTEGRATORS[name][0].step(ODE(oracle, path=path), x, 0.0, 1.0)
    torch.testing.assert_close(found, oracle.denoise(x, 0.0), rtol=0, atol=1e-15)


@every_integrator
@every_path
def test_the_last_step_to_the_data_is_the_last_data_prediction(name, schedule):
    path, asked = PATHS[schedule], []

    class Watched(ODE):
        def predict(self, x, t, wanted):
            fields = super().predict(x, t, wanted)
            asked.append(fields[0])
            return fields

    found = INTEGRATORS[name][0].integrate(Watched(mixture(schedule), path=path), noise(), UNEVEN)
    assert torch.equal(found, asked[-1])


@every_integrator
@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_everything_is_finite_from_0_to_1_and_keeps_its_type(name, schedule, dtype):
    path, x = PATHS[schedule], noise(dtype=dtype)
    for head in (VelocityHead(), NoiseHead(), DataHead(), ScoreHead(), VHead(), JointHead()):
        ode = ODE(Model(Wave(head.outputs), head, path), path=path)
        for grid in ([0.0, 0.5, 1.0], UNEVEN, [0.0, 1e-6, 1e-3, 0.5, 1 - 1e-3, 1 - 1e-6, 1.0]):
            states = list(INTEGRATORS[name][0].trajectory(ode, x, grid))
            assert all(state.isfinite().all() for state in states)
            assert {state.dtype for state in states} == {dtype}
    assert torch.equal(x, noise(dtype=dtype))


@every_integrator
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision_gives_what_double_precision_gives(name, dtype):
    """Ten steps of at most ten roundings each, by half of eps relative to values of up to 4: at most 200 eps."""
    integrator, path = INTEGRATORS[name][0], PATHS["condot"]
    x, ode = noise(dtype=dtype), ODE(OneGaussian(path), path=path)
    exact, found = (integrator.integrate(ode, start, times(10)) for start in (x.double(), x))
    assert (found.double() - exact).abs().max() < 200 * torch.finfo(dtype).eps


# How they evaluate.


@every_integrator
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_evaluations_are_as_many_as_promised(name, steps):
    """One less for each step with an infinite end where there would be two."""
    integrator, _, each = INTEGRATORS[name]
    inside, whole = ODE(mixture(), path=PATHS["condot"]), ODE(mixture(), path=PATHS["condot"])
    integrator.integrate(inside, noise(), times(steps, 0.1, 0.9))
    integrator.integrate(whole, noise(), times(steps))
    assert inside.evaluations == each * steps
    assert whole.evaluations == each * steps - (each - 1) * min(2, steps)


@every_integrator
def test_no_evaluation_is_at_the_end_or_outside(name):
    integrator, path = INTEGRATORS[name][0], PATHS["condot"]
    model = Known(path, lambda _: 1.0)
    integrator.integrate(ODE(model, path=path), noise(), UNEVEN)
    assert min(model.seen) == 0.0
    assert UNEVEN[-2] <= max(model.seen) < 1.0
    assert not integrator.evaluates_end
    assert not integrator.stochastic


def test_the_middle_of_2s_is_the_middle_in_lambda():
    path = PATHS["cosine"]
    model = Known(path, lambda _: 1.0)
    DPMpp2S().step(ODE(model, path=path), noise(), 0.2, 0.7)
    expected = (lambda_of(path, 0.2) + lambda_of(path, 0.7)) / 2
    assert lambda_of(path, model.seen[1]) == pytest.approx(expected, abs=1e-12)


@every_integrator
def test_the_schedule_is_evaluated_as_often_for_many_steps_as_for_few(name):
    class Counted(CondOT):
        calls = 0

        def alpha(self, t):
            self.calls += 1
            return super().alpha(t)

    def calls(steps):
        schedule = Counted()
        INTEGRATORS[name][0].integrate(ODE(mixture(), path=GaussianPath(schedule)), noise(), times(steps))
        return schedule.calls

    assert calls(3) == calls(30) < 60  # 52 are the bisection of `time_of_log_snr`


@every_integrator
def test_who_corrects_a_step_corrects_it_if_it_is_not_the_last(name):
    """UniPC all steps, Adams-Bashforth of order 3 the first: a state differs from what the same steps alone end in."""
    integrator, ode, x = INTEGRATORS[name][0], ODE(mixture(), path=PATHS["condot"]), noise()
    grid = [0.1, 0.3, 0.5, 0.8, 0.9]
    states = list(integrator.trajectory(ode, x, grid))
    alone = [integrator.integrate(ode, x, grid[: i + 1]) for i in range(1, len(grid))]
    corrected = [not torch.equal(*pair) for pair in zip(states[1:], alone, strict=True)]
    expected = {"unipc-2": [True] * 3, "unipc-3": [True] * 3, "exponential_ab-3": [True, False, False]}
    assert corrected == [*expected.get(name, [False] * 3), False]


# Backwards.


@every_integrator
@pytest.mark.parametrize("schedule", ["condot", "cosine"])
def test_data_are_encoded_into_the_noise_that_they_come_from(name, schedule):
    """The steps at both ends have order 1 and err by O(h^2), up to powers of log h, as they do forwards: from 80 to
    320 steps with its square, 2 looks like 1.55."""
    integrator, order, _ = INTEGRATORS[name]
    model, path = OneGaussian(PATHS[schedule]), PATHS[schedule]

    def error(steps):
        found = integrator.integrate(ODE(model, path=path), model.solution(noise(), 0.0, 1.0), times(steps).flip(0))
        return float((found - noise()).norm())

    coarse, fine = error(80), error(320)
    assert math.log2(coarse / fine) / 2 > min(order, 1.55) - 0.05
    assert fine < [0.05, 2e-3, 1e-3][order - 1]


@every_integrator
@every_path
def test_one_step_from_data_to_noise_is_the_noise_prediction(name, schedule):
    path, oracle = PATHS[schedule], mixture(schedule)
    data, from_noise = oracle.predict(noise(), 1.0, None, (Quantity.DATA, Quantity.NOISE))
    found = INTEGRATORS[name][0].step(ODE(oracle, path=path), noise(), 1.0, 0.0)
    t = torch.zeros((), dtype=torch.float64)
    expected = path.schedule.alpha(t) * data + path.schedule.beta(t) * from_noise
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in INTEGRATORS if name != "ddim"])
@pytest.mark.parametrize("grid", [[0.0, 0.5, 0.5, 1.0], [0.2, 0.6, 0.4], [0.6, 0.4, 0.5]], ids=str)
def test_times_that_turn_or_stand_are_refused(name, grid):
    message = f"{type(INTEGRATORS[name][0]).__name__} goes one way in time: times should rise throughout or fall"
    with pytest.raises(UnsupportedError, match=message):
        INTEGRATORS[name][0].integrate(ODE(mixture(), path=PATHS["condot"]), noise(), grid)


# What is refused.


class Bent(GaussianPath):
    """A schedule, and not the path of that schedule."""

    def can_convert(self, given, wanted):
        return given is wanted


class Bare(Path):
    def sample(self, x0, z, t, generator=None):
        return x0

    def velocity(self, x, x0, z, t):
        return x


@every_integrator
@pytest.mark.parametrize("path", [Bent(), Bare()], ids=type)
def test_a_path_that_is_not_gaussian_is_refused_by_name(name, path):
    integrator = INTEGRATORS[name][0]
    message = rf"{type(integrator).__name__} needs a Gaussian path.*{type(path).__name__} is none: use .*'heun'"
    with pytest.raises(UnsupportedError, match=message):
        fk.sample(mixture(), noise(), integrator=integrator, path=path)
    with pytest.raises(UnsupportedError, match=message):
        integrator.integrate(ODE(mixture(), path=path), noise(), [0.0, 1.0])
    assert integrator.problems(PATHS["vp"]) == []


@every_integrator
def test_a_drift_alone_is_refused(name):
    class Drift(Dynamics):
        def drift(self, x, t):
            return x

    with pytest.raises(UnsupportedError, match="was given a drift alone"):
        INTEGRATORS[name][0].integrate(Drift(), noise(), [0.0, 1.0])


@every_integrator
def test_they_are_found_by_name_with_their_settings(name):
    plain, _, setting = name.partition("-")
    settings = {"unipc": "predictor_order", "exponential_ab": "order"}
    given = {settings[plain]: int(setting)} if setting else {}
    built = fk.create("integrator", plain, **given)
    assert type(built) is type(INTEGRATORS[name][0])
    assert vars(built) == vars(INTEGRATORS[name][0])


@pytest.mark.parametrize(("name", "setting"), [("unipc", "predictor_order"), ("exponential_ab", "order")])
def test_other_orders_are_refused(name, setting):
    with pytest.raises(fk.ConfigError, match=setting):
        fk.create("integrator", name, **{setting: 4})


def test_a_pipeline_samples_with_all_of_them(tiny, tmp_path):
    pipeline = tiny.build().fit(tmp_path / "run")
    for name in INTEGRATORS:
        assert pipeline.sample(8, integrator=name.partition("-")[0], steps=3).isfinite().all()


# The weights.


@pytest.mark.parametrize("h", [1e-8, 1e-3, 0.3, 0.999, 1.0, 5.0, 40.0])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_phi_is_its_integral(k, h):
    def integrand(theta):
        return math.exp(-(1 - theta) * h) * theta ** (k - 1) / math.factorial(k - 1)

    assert phi(k, -h) == pytest.approx(quad(integrand, 0, 1, epsabs=1e-15, epsrel=1e-13)[0], rel=1e-11)
    assert phi(0, -h) == pytest.approx(math.exp(-h), rel=1e-14)


@pytest.mark.parametrize("h", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("shape", [[0], [0, -0.7], [0, -0.7, -2], [1, 0, -0.7], [1, 0, -0.7, -2]], ids=str)
def test_interpolation_integrates_polynomials_exactly(shape, h):
    points = [h * point for point in shape]
    weights = interpolation(points, h)
    for degree in range(len(points)):
        exact = quad(lambda tau, degree=degree: math.exp(tau - h) * tau**degree, 0, h, epsabs=0, epsrel=1e-13)[0]
        assert math.fsum(w * p**degree for w, p in zip(weights, points, strict=True)) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("h", [0.1, 2.0, math.inf])
def test_all_weights_sum_to_that_of_a_constant(h):
    assert sum(trapezoid(h)) == pytest.approx(-math.expm1(-h), rel=1e-14)
    for rule in (midpoint, interpolation):
        assert sum(rule([0.0], h)) == pytest.approx(-math.expm1(-h), rel=1e-14)
    if math.isfinite(h):
        for rule in (midpoint, interpolation, DPMpp3M().predictor):
            assert sum(rule([0.0, -0.3 * h], h)) == pytest.approx(-math.expm1(-h), rel=1e-13)
        assert sum(DPMpp3M().predictor([0.0, -0.3, -0.7], h)) == pytest.approx(-math.expm1(-h), rel=1e-13)


def test_divided_differences_of_a_parabola_are_half_its_curvature():
    points = [0.0, -0.3, -1.1]
    assert sum(c * (2 * p * p - p + 5) for c, p in zip(divided_difference(points), points, strict=True)) == (
        pytest.approx(2.0, abs=1e-13)
    )
