"""What every schedule must do: its ends, its growth, its derivatives, its log-SNR."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..interfaces.schedule import Schedule
from .check import CheckList, Subject, require, require_close
from .reference import DTYPES, derivative

__all__ = ["CHECKS"]

CHECKS = CheckList()

_TRACE = 0.05
"""How much data may be left against the noise at t = 0, and noise against the data at t = 1."""


@CHECKS.add(hint="time runs from noise at t = 0 to data at t = 1: a schedule of the other direction takes 1 - t")
def starts_with_noise(subject: Subject) -> None:
    """At t = 0 there is noise, and no more than a trace of the data: alpha_0 = 0, or a twentieth of beta_0 at most."""
    alpha, beta = _ends(subject.component, 0.0)
    require(beta > 0, f"beta at t = 0 is {beta:.6g}: there is no noise to start from")
    require(0 <= alpha <= _TRACE * beta, f"at t = 0 alpha is {alpha:.6g} and beta {beta:.6g}: the data show through")


@CHECKS.add(hint="alpha_1 = 1: the data are not scaled")
def ends_with_the_data(subject: Subject) -> None:
    """At t = 1 the data are whole: alpha_1 = 1, up to a trace of noise squared."""
    alpha, _ = _ends(subject.component, 1.0)
    require(abs(alpha - 1) <= _TRACE**2, f"alpha at t = 1 is {alpha:.6g} instead of 1")


@CHECKS.add(hint="beta_1 = 0, or a small sigma_min that the docstring tells of")
def ends_without_noise(subject: Subject) -> None:
    """At t = 1 the noise is gone: beta_1 = 0, or a trace of a twentieth at most."""
    _, beta = _ends(subject.component, 1.0)
    require(0 <= beta <= _TRACE, f"beta at t = 1 is {beta:.6g}: samples would keep that much noise")


@CHECKS.add(hint="alpha is the coefficient of the data point, which enters with time")
def the_data_never_fade(subject: Subject) -> None:
    """Alpha never falls."""
    alpha = subject.component.alpha(_grid())
    falls = alpha.diff() < -1e-12  # rounding of numbers up to 1
    require(not bool(falls.any()), f"alpha falls at t = {_times_of(falls)}")


@CHECKS.add(hint="alpha / beta must grow strictly: the inverse of the log-SNR rests on it")
def the_signal_to_noise_ratio_grows(subject: Subject) -> None:
    """alpha_t / beta_t grows strictly."""
    t, schedule = _grid(), subject.component
    grows = torch.atan2(schedule.alpha(t), schedule.beta(t)).diff() > 0  # also where beta is 0
    require(bool(grows.all()), f"alpha / beta does not grow at t = {_times_of(~grows)}")


@CHECKS.add(hint="differentiate alpha again, or leave alpha_dot out: it then comes from automatic differentiation")
def alpha_dot_is_the_derivative_of_alpha(subject: Subject) -> None:
    """alpha_dot is d alpha / dt."""
    _is_derivative(subject.component.alpha_dot, subject.component.alpha, "alpha_dot")


@CHECKS.add(hint="differentiate beta again, or leave beta_dot out: it then comes from automatic differentiation")
def beta_dot_is_the_derivative_of_beta(subject: Subject) -> None:
    """beta_dot is d beta / dt."""
    _is_derivative(subject.component.beta_dot, subject.component.beta, "beta_dot")


@CHECKS.add(hint="log_snr is 2 log(alpha / beta), with the square and the natural logarithm")
def log_snr_is_that_of_alpha_and_beta(subject: Subject) -> None:
    """log_snr(t) = log(alpha_t^2 / beta_t^2)."""
    t, schedule = _inside(), subject.component
    wanted = 2 * (schedule.alpha(t).log() - schedule.beta(t).log())
    require_close(schedule.log_snr(t), wanted, 1e-8, "log_snr")  # rounding, times log-SNRs of some 10


@CHECKS.add(hint="time_of_log_snr takes the log of the squared ratio; leave it out, and bisection finds it")
def time_of_log_snr_inverts_log_snr(subject: Subject) -> None:
    """time_of_log_snr(log_snr(t)) = t."""
    t, schedule = _inside(), subject.component
    found = schedule.time_of_log_snr(schedule.log_snr(t))
    require_close(found, t, 1e-8, "time_of_log_snr(log_snr(t))")


@CHECKS.add(hint="clamp the time to [0, 1]")
def a_log_snr_out_of_range_is_at_an_end(subject: Subject) -> None:
    """A log-SNR that the schedule never has gives the time 0 or 1."""
    beyond = torch.tensor([-math.inf, -1e4, 1e4, math.inf], dtype=torch.float64)
    wanted = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    require_close(subject.component.time_of_log_snr(beyond), wanted, 1e-8, "time_of_log_snr of -inf, -1e4, 1e4, inf")


@CHECKS.add(hint="elementwise operations on t keep its shape: no reduction, no flatten, no number in place of a tensor")
def keeps_the_shape_of_t(subject: Subject) -> None:
    """Times of any shape give results of that shape, element by element."""
    for name, function in _functions(subject.component).items():
        flat = function(_inside())
        for shape in ((), (6,), (2, 3)):
            t = _inside()[: math.prod(shape)].reshape(shape)
            require_close(function(t), flat[: math.prod(shape)].reshape(shape), 1e-12, f"{name} of t of shape {shape}")


@CHECKS.add(hint="make no tensor of a fixed dtype: torch.ones_like(t), torch.full_like(t, ...)")
def keeps_the_precision_of_t(subject: Subject) -> None:
    """float64, float32 and bfloat16 times give results of that type, right to its resolution."""
    for dtype in DTYPES:
        t = torch.linspace(0.125, 0.875, 7, dtype=dtype)  # exact in each of them
        for name, function in _functions(subject.component).items():
            found = function(t)
            require(found.dtype == dtype, f"{name} of a {dtype} time is {found.dtype}")
            # A handful of roundings, each made larger by powers and exponents of some ten.
            require_close(found, function(t.double()), 100 * torch.finfo(dtype).eps, f"{name} in {dtype}")


@CHECKS.add(hint="write the limit at the end, not a division by 0; no epsilon")
def is_finite_at_both_ends(subject: Subject) -> None:
    """Alpha and beta are finite at t = 0 and t = 1 in every type, and no derivative is NaN there."""
    schedule = subject.component
    for dtype in DTYPES:
        t = torch.tensor([0.0, 1.0], dtype=dtype)
        for name, value in (("alpha", schedule.alpha(t)), ("beta", schedule.beta(t))):
            require(bool(value.isfinite().all()), f"{name} at t = 0 and 1 is {value.tolist()} in {dtype}")
        for name, value in (("alpha_dot", schedule.alpha_dot(t)), ("beta_dot", schedule.beta_dot(t))):
            require(not bool(value.isnan().any()), f"{name} at t = 0 and 1 is {value.tolist()} in {dtype}")


def _grid() -> Tensor:
    return torch.linspace(0, 1, 257, dtype=torch.float64)


def _inside() -> Tensor:
    return torch.linspace(0.031, 0.967, 23, dtype=torch.float64)


def _ends(schedule: Schedule, t: float) -> tuple[float, float]:
    time = torch.tensor(t, dtype=torch.float64)
    return float(schedule.alpha(time)), float(schedule.beta(time))


def _times_of(wrong: Tensor) -> str:
    return ", ".join(f"{t:.4g}" for t in _grid()[:-1][wrong][:3].tolist())


def _functions(schedule: Schedule) -> dict[str, Callable[[Tensor], Tensor]]:
    names = ("alpha", "beta", "alpha_dot", "beta_dot", "log_snr")
    return {name: getattr(schedule, name) for name in names}


def _is_derivative(dot: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor], name: str) -> None:
    """Central differences over 1e-3 err by 1e-7 of the scale even where beta is the root of 1 - t = 0.03."""
    require_close(dot(_inside()), derivative(function, _inside()), 1e-5, name)
