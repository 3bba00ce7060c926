"""What every integrator must do (1): converge with its order, to the right solution and the right marginals."""

import math

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.integrator import Integrator
from .check import CheckList, NotApplicable, Subject, require
from .noise import Brownian, Impulses
from .problems import (
    Pendulum,
    Swing,
    Wave,
    dynamics_for,
    even_times,
    ode_problem,
    on_reference_path,
    solver_of_odes,
    solver_of_sdes,
    start_state,
)
from .reference import NormalField

__all__ = ["CHECKS"]

CHECKS = CheckList()

_SLACK = 0.3
"""How much lower than claimed a measured order may be: the next term of the error is a few steps below the first."""

_ROUNDING = 1e-12
"""Below this an error says nothing of the order any more."""


@CHECKS.add(
    hint="the measured order is the claim to make; a weight of the formula, or a time inside the step, may be wrong"
)
def converges_with_its_order(subject: Subject) -> None:
    """Twice the steps divide the error of an ODE by 2^order, on even and on uneven steps."""
    integrator = solver_of_odes(subject)
    if _chooses_steps(integrator):
        raise NotApplicable("it chooses its own steps: see its_formula_has_its_order and meets_its_tolerance")
    for name, bend in (("even", 0.0), ("growing", 0.25)):

        def error(steps: int, bend: float = bend) -> float:
            u = even_times(steps, 0.0, 1.0)
            return _ode_error(integrator, u + bend * (u * u - u))

        coarse, fine = error(80), error(160)
        if not _has_order(coarse, fine, integrator.order):  # by chance the first terms may cancel: look further
            coarse, fine = fine, error(320)
        _require_order(coarse, fine, integrator.order, f"on {name} steps, twice as many of them")


@CHECKS.add(hint="the order is that of the result which is kept, not that of the error estimate")
def its_formula_has_its_order(subject: Subject) -> None:
    """Of an integrator that chooses its steps, half a step errs 2^(order + 1) times less."""
    integrator = solver_of_odes(subject)
    if not _chooses_steps(integrator):
        raise NotApplicable("it takes the steps it is given")
    start = start_state()

    def error(h: float) -> float:
        found = integrator.step(Pendulum(), start, 0.3, 0.3 + h)
        return float((found - Pendulum.flow(start, 0.3, 0.3 + h)).abs().max())

    _require_order(
        error(0.2), error(0.1), integrator.order + 1, "half of a single step, whose error has one order more,"
    )


@CHECKS.add(hint="compare the error estimate with the tolerance, and reject the steps that exceed it")
def meets_its_tolerance(subject: Subject) -> None:
    """One that chooses its steps errs at most 300 times its tolerance, `rtol` and `atol` (else 1e-4)."""
    integrator = solver_of_odes(subject)
    if not _chooses_steps(integrator):
        raise NotApplicable("it takes the steps it is given")
    tolerance = max(getattr(integrator, "rtol", 1e-4), getattr(integrator, "atol", 1e-4))
    dynamics, start, exact = ode_problem(integrator, 0.0, 1.0)
    if isinstance(dynamics, Pendulum):  # a drift is enough, so let it be one that changes fast
        dynamics, exact = Swing(), Swing.flow(start, 0.0, 1.0)
    error = float((integrator.integrate(dynamics, start, [0.0, 1.0]) - exact).abs().max())
    # The errors of some hundred steps add up, and grow with the solution.
    require(error <= 300 * tolerance, f"the error is {error:.3g} with a tolerance of {tolerance:.3g}")


@CHECKS.add(hint="step through the times that are given, or interpolate to them; the steps may be uneven")
def states_are_at_their_times(subject: Subject) -> None:
    """Each state of a trajectory is near the solution at its own time, on uneven steps too."""
    integrator = solver_of_odes(subject)
    grid = 0.2 + 0.6 * even_times(80, 0.0, 1.0) ** 2
    dynamics, start, _ = ode_problem(integrator, 0.2, 0.8)
    for t, state in zip(grid.tolist(), integrator.trajectory(dynamics, start, grid), strict=False):
        error = float((state - ode_problem(integrator, 0.2, t)[2]).abs().max())  # order 1 errs by some 0.01
        require(error <= 0.03, f"the state at t = {t:.4g} is {error:.3g} away from the solution there")


@CHECKS.add(hint="the noise of a step h is sigma_t sqrt(h) xi, and a drift at its end must see it")
def converges_with_its_strong_order(subject: Subject) -> None:
    """Along the same Brownian paths, twice the steps divide the error by 2^order, if it draws once a step."""
    integrator = solver_of_sdes(subject)
    start, finest = torch.ones(200, 1, dtype=torch.float64), 512

    def end(steps: int) -> Tensor:
        noise = Brownian(0, len(start), finest // steps)
        found = integrator.integrate(Wave(), start, even_times(steps, 0.0, 1.0), noise)
        if noise.draws != steps:
            raise NotApplicable(
                "it does not draw once a step, and how its draws make a Brownian path is its own affair"
            )
        return found

    exact = end(finest)
    coarse, fine = (float((end(steps) - exact).square().mean().sqrt()) for steps in (16, 32))
    _require_order(coarse, fine, integrator.order, "along the same Brownian paths, twice as many steps")


@CHECKS.add(hint="the noise of a step h is sigma_t sqrt(h) xi: not h, not sigma_t^2, not twice")
def mean_and_variance_converge(subject: Subject) -> None:
    """Of an SDE whose solution is normal, mean and variance converge to the right ones, with the order at least."""
    integrator = solver_of_sdes(subject)
    (mean, variance), (mean_fine, variance_fine) = (_moment_errors(integrator, n) for n in (40, 80))
    require(
        abs(variance_fine) <= 0.05,
        f"the variance at the end is {1 + variance_fine:.3f} times what it should be: the noise has a wrong scale, or "
        f"the drift another",
    )
    require(abs(mean_fine) <= 0.05, f"the mean at the end is off by {mean_fine:.3g} deviations")
    _require_order(abs(mean), abs(mean_fine), integrator.order, "the mean: twice as many steps")
    _require_order(abs(variance), abs(variance_fine), integrator.order, "the variance: twice as many steps")


@CHECKS.add(
    hint="noise that is added must be taken away by the same step: compare the variance with beta^2 of the path"
)
def keeps_the_marginals(subject: Subject) -> None:
    """400 steps carry the marginal of normal data at t = 0.2 to that at t = 0.8: its variance to 1 percent."""
    integrator = on_reference_path(subject)
    mean, variance = _moment_errors(integrator, 400)  # methods of order 1 err by half a percent
    require(abs(mean) <= 0.01, f"the mean is off by {mean:.3g} deviations")
    require(abs(variance) <= 0.01, f"the variance is {1 + variance:.4f} times that of the marginal")


@CHECKS.add(hint="use the sign of s - t: a step may go to an earlier time; one that cannot raises ValueError")
def goes_backwards_or_refuses(subject: Subject) -> None:
    """Backwards in time it solves the same equation, or raises ValueError."""
    integrator = solver_of_odes(subject)
    dynamics, start, exact = ode_problem(integrator, 0.8, 0.2)
    try:
        found = integrator.integrate(dynamics, start, even_times(80, 0.8, 0.2))
    except (ValueError, UnsupportedError):
        return
    error = float((found - exact).abs().max())  # 80 steps of order 1 err by some 0.01
    require(error <= 0.05, f"from t = 0.8 back to 0.2 the error is {error:.3g}")


def _ode_error(integrator: Integrator, u: Tensor) -> float:
    grid = 0.2 + 0.6 * u
    dynamics, start, exact = ode_problem(integrator, 0.2, 0.8)
    return float((integrator.integrate(dynamics, start, grid) - exact).abs().max())


def _chooses_steps(integrator: Integrator) -> bool:
    """Whether it evaluates as often for 40 steps as for 20."""
    counts = []
    for steps in (20, 40):
        dynamics, start, _ = ode_problem(integrator, 0.2, 0.8)
        integrator.integrate(dynamics, start, even_times(steps, 0.2, 0.8))
        counts.append(dynamics.evaluations)
    return counts[0] == counts[1]


def _moment_errors(integrator: Integrator, steps: int) -> tuple[float, float]:
    """How far mean (in deviations) and variance (relative) are off at t = 0.8, from the exact ones at t = 0.2.

    Exact, without sampling: for one normal distribution every step is affine in the state and the noise.
    """
    field, grid = NormalField(), even_times(steps, 0.2, 0.8)
    (mean, std), (mean_end, std_end) = field.moments(0.2), field.moments(0.8)

    def end(draws: int) -> tuple[Tensor, int]:
        x = torch.full((2 + draws, 1), mean, dtype=torch.float64)
        x[1] += std
        noise = Impulses(len(x), 2)
        return integrator.integrate(dynamics_for(integrator), x, grid, noise), noise.next - 2

    x, _ = end(end(0)[1])
    off = x[1:] - x[0]
    return float((x[0] - mean_end) / std_end), float(off.square().sum()) / std_end**2 - 1


def _has_order(coarse: float, fine: float, order: float) -> bool:
    return fine <= max(coarse * 2 ** -(order - _SLACK), _ROUNDING)


def _require_order(coarse: float, fine: float, order: float, what: str) -> None:
    require(math.isfinite(coarse) and math.isfinite(fine), f"{what}: the error is not a finite number")
    if _has_order(coarse, fine, order):
        return
    seen = math.log2(max(coarse, 1e-300) / fine)
    raise AssertionError(
        f"{what} takes the error from {coarse:.3g} to {fine:.3g}: order {seen:.2f} instead of {order:g}"
    )
