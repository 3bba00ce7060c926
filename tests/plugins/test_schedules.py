"""Schedules: their formulas, ends, derivatives and signal-to-noise ratios, against closed forms and other packages."""

import math

import pytest
import scipy.integrate
import torch
from flowkit_gaussian.schedules import (
    DDPM,
    EDM,
    CallableSchedule,
    CondOT,
    Cosine,
    LogitLinear,
    Polynomial,
    Shifted,
    SubVariancePreserving,
    Target,
    VarianceExploding,
    VariancePreserving,
)
from oracles import SCHEDULES
from schedules import SCHEDULE

from flowkit import ConfigError, Schedule, create

every_schedule = pytest.mark.parametrize("name", SCHEDULE)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
inside = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


def slope(function, t):
    """The derivative by backward-mode autograd."""
    t = t.clone().requires_grad_()
    return torch.autograd.grad((function(t) + 0 * t).sum(), t)[0]  # a constant has the derivative 0


def product(steps):
    """prod_(i<s) (1 - b_i) of DDPM."""
    return float((1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))[:steps].prod())


VP_0 = math.exp(-10.05)  # the squared alpha that is left at t = 0
ENDS = {  # alpha and beta at t = 0, then at t = 1
    "condot": (0, 1, 1, 0),
    "cosine": (0, 1, 1, 0),
    "vp": (VP_0**0.5, (1 - VP_0) ** 0.5, 1, 0),
    "sub_vp": (VP_0**0.5, 1 - VP_0, 1, 0),
    "ddpm": (product(1000) ** 0.5, (1 - product(1000)) ** 0.5, 1, 0),
    "polynomial": (0, 1, 1, 0),
    "target": (0, 1, 1, 0.01),
    "logit_linear": tuple((1 + math.exp(x)) ** -0.5 for x in (10, -10, -10, 10)),
    "ve": (1, 50, 1, 0.01),
    "edm": (1, 80, 1, 0.002),
    "shifted": (0, 1, 1, 0),
}


@every_schedule
@every_dtype
def test_a_schedule_runs_from_its_noise_to_its_data(name, dtype):
    t = torch.tensor([0.0, 1.0], dtype=dtype)
    alpha, beta = SCHEDULE[name].alpha(t), SCHEDULE[name].beta(t)
    assert alpha.dtype == beta.dtype == dtype
    # Rounding of a logarithm of size 5 is magnified by 5, and that of a root by rho = 7.
    tolerance = 10 * torch.finfo(dtype).eps
    for value, expected in zip([alpha[0], beta[0], alpha[1], beta[1]], ENDS[name], strict=True):
        assert value.item() == (expected if expected in (0, 1) else pytest.approx(expected, rel=tolerance))


@every_schedule
def test_alpha_and_beta_are_what_the_schedule_says(name):
    alpha, beta_squared = SCHEDULES[name]
    tolerance = 1e-12 if name == "ddpm" else 1e-13  # ddpm: two polynomials that are fitted and summed in float64
    torch.testing.assert_close(SCHEDULE[name].alpha(inside), alpha(inside), rtol=tolerance, atol=0)
    torch.testing.assert_close(SCHEDULE[name].beta(inside).square(), beta_squared(inside), rtol=1e-12, atol=0)


OTHER_SETTINGS = {
    **{f"{name} as it is": schedule for name, schedule in SCHEDULE.items()},
    "vp 1 to 1": VariancePreserving(1.0, 1.0),
    "vp 0.3 to 5": VariancePreserving(0.3, 5.0),
    "sub_vp 0.3 to 5": SubVariancePreserving(0.3, 5.0),
    "polynomial 1": Polynomial(1.0),
    "polynomial 3.5": Polynomial(3.5),
    "target 0.3": Target(0.3),
    "logit_linear -5 to 13.3": LogitLinear(-5.0, 13.3),
    "ve 0.1 to 3": VarianceExploding(0.1, 3.0),
    "edm 0.01 to 10, rho 1": EDM(0.01, 10.0, 1.0),
    "shifted vp": Shifted(VariancePreserving(), 0.4),
    "callables": CallableSchedule(torch.sqrt, lambda t: torch.sqrt(1 - t)),
}
with_any_settings = pytest.mark.parametrize("schedule", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)


@with_any_settings
def test_the_derivatives_are_those_of_autograd(schedule):
    for closed, function, inherited in [
        (schedule.alpha_dot, schedule.alpha, Schedule.alpha_dot),
        (schedule.beta_dot, schedule.beta, Schedule.beta_dot),
    ]:
        expected = slope(function, inside)
        torch.testing.assert_close(closed(inside), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(inherited(schedule, inside), expected, rtol=1e-12, atol=1e-12)


@with_any_settings
def test_the_log_snr_is_that_of_alpha_and_beta_at_both_ends_too(schedule):
    t = torch.cat([inside, torch.tensor([0.0, 1.0], dtype=torch.float64)])
    expected = 2 * (schedule.alpha(t).log() - schedule.beta(t).abs().log())
    torch.testing.assert_close(schedule.log_snr(t), expected, rtol=1e-10, atol=1e-10)


@with_any_settings
def test_the_time_of_a_ratio_is_the_inverse_to_rounding(schedule):
    """A rounding of the ratio, 2^-52 of its size, moves the time by that over the slope; times are exact to 2^-52."""
    log_snr = schedule.log_snr(inside)
    wrong = (schedule.time_of_log_snr(log_snr) - inside).abs()
    assert (wrong <= 1e-14 * (1 + log_snr.abs() / slope(schedule.log_snr, inside))).all()


@with_any_settings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_ratio_out_of_range_is_found_at_the_nearer_end(schedule, dtype):
    beyond = schedule.time_of_log_snr(torch.tensor([-math.inf, -1e4, 1e4, math.inf], dtype=dtype))
    # Bisection goes to 2^-52, and a root of t = sigmoid(-5000) is no further from 0.
    assert beyond.dtype == dtype
    ends = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=dtype)
    torch.testing.assert_close(beyond, ends, rtol=0, atol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("low", "high"), [(0.1, 20.0), (1.0, 1.0), (0.3, 5.0)])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_the_vp_schedules_integrate_their_rate(low, high, t):
    integral, _ = scipy.integrate.quad(lambda tau: low + tau * (high - low), 0, 1 - t)
    time = torch.tensor(t, dtype=torch.float64)
    for schedule, power in [(VariancePreserving(low, high), 0.5), (SubVariancePreserving(low, high), 1)]:
        assert schedule.alpha(time).item() == pytest.approx(math.exp(-integral / 2), rel=1e-12)
        assert schedule.beta(time).item() == pytest.approx((1 - math.exp(-integral)) ** power, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("vp", lambda t: torch.sqrt(-torch.expm1(-(0.1 * (1 - t) + 9.95 * (1 - t) ** 2)))),
        ("sub_vp", lambda t: -torch.expm1(-(0.1 * (1 - t) + 9.95 * (1 - t) ** 2))),
        ("polynomial", lambda t: (1 - t) * (1 + t)),
        ("target", lambda t: (1 - t) + 0.01 * t),
    ],
)
def test_beta_keeps_its_digits_near_the_data(name, exact):
    t = 1 - 2.0 ** -torch.arange(1, 24)  # float32, and 1 - t is exact
    torch.testing.assert_close(SCHEDULE[name].beta(t).double(), exact(t.double()), rtol=1e-6, atol=0)


def test_only_the_slope_of_the_vp_and_ddpm_betas_is_infinite():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    infinite = {
        name
        for name, schedule in SCHEDULE.items()
        if not (schedule.alpha_dot(ends).isfinite() & schedule.beta_dot(ends).isfinite()).all()
    }
    assert infinite == {"vp", "ddpm"}
    assert SCHEDULE["vp"].beta_dot(torch.tensor(1.0)) == -math.inf


def test_the_ddpm_schedule_has_the_products_of_ddpm_after_every_step():
    products = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    t = 1 - torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(DDPM().alpha(t).square(), products, rtol=1e-12, atol=0)
    torch.testing.assert_close(DDPM().beta(t).square(), 1 - products, rtol=1e-11, atol=0)


@pytest.mark.parametrize("shift", [1.0, 0.5, 3.0])
def test_a_shift_of_the_noise_level_multiplies_the_noise_to_data_ratio(shift):
    """sigma' / (1 - sigma') = m sigma / (1 - sigma), from equation 23 of Esser et al."""
    shifted, plain = Shifted(CondOT(), shift), CondOT()
    ratio = shifted.beta(inside) / shifted.alpha(inside)
    torch.testing.assert_close(ratio, shift * plain.beta(inside) / plain.alpha(inside), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("vp", {"rate_min": 2.0, "rate_max": 1.0}, "rate_max must be at least rate_min = 2"),
        ("ve", {"sigma_min": 2.0, "sigma_max": 1.0}, "sigma_max must be greater than sigma_min = 2"),
        ("edm", {"sigma_min": 2.0, "sigma_max": 1.0}, "sigma_max must be greater than sigma_min = 2"),
        ("logit_linear", {"log_snr_min": 2.0, "log_snr_max": 1.0}, "must be greater than log_snr_min = 2"),
        ("polynomial", {"n": 0.5}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(name, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        create("schedule", name, **settings)


# Peers.


@pytest.mark.parametrize(
    ("ours", "theirs", "settings"),
    [
        (CondOT(), "CondOTScheduler", {}),
        (Cosine(), "CosineScheduler", {}),
        (VariancePreserving(), "VPScheduler", {}),
        (Polynomial(3.0), "PolynomialConvexScheduler", {"n": 3.0}),
    ],
    ids=["condot", "cosine", "vp", "polynomial"],
)
def test_the_schedule_is_that_of_flow_matching(ours, theirs, settings):
    module = pytest.importorskip("flow_matching.path.scheduler")
    theirs = getattr(module, theirs)(**settings)
    out = theirs(inside)
    for value, expected in [
        (ours.alpha(inside), out.alpha_t),
        (ours.beta(inside), out.sigma_t),
        (ours.alpha_dot(inside), out.d_alpha_t),
        (ours.beta_dot(inside), out.d_sigma_t),
        (ours.time_of_log_snr(ours.log_snr(inside)), theirs.snr_inverse(out.alpha_t / out.sigma_t)),
    ]:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


def test_the_ddpm_schedule_is_that_of_diffusers_at_its_timesteps():
    diffusers = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    theirs = diffusers.DDPMScheduler(1000, 1e-4, 0.02, "linear")
    t = 1 - (theirs.timesteps.double() + 1) / 1000
    expected = theirs.alphas_cumprod[theirs.timesteps].double()
    torch.testing.assert_close(DDPM().alpha(t).square(), expected, rtol=1e-6, atol=0)  # theirs is float32


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_the_shift_is_that_of_diffusers(shift):
    diffusers = pytest.importorskip("diffusers.schedulers.scheduling_flow_match_euler_discrete")
    sigma = diffusers.FlowMatchEulerDiscreteScheduler(1000, shift=shift).sigmas[:1000].double()
    unshifted = torch.linspace(1, 1 / 1000, 1000, dtype=torch.float64)
    found = Shifted(CondOT(), shift).beta(1 - unshifted)
    torch.testing.assert_close(found, sigma, rtol=1e-6, atol=0)  # theirs is float32


def test_the_edm_schedule_is_that_of_diffusers():
    diffusers = pytest.importorskip("diffusers.schedulers.scheduling_edm_euler")
    theirs = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    theirs.set_timesteps(20)
    found = EDM().beta(torch.linspace(0, 1, 20, dtype=torch.float64))
    torch.testing.assert_close(found, theirs.sigmas[:20].double(), rtol=1e-5, atol=0)  # theirs is float32
