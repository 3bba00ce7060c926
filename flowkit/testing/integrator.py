"""What every integrator must do: its order, its noise, its evaluations, and nothing left over between calls."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..dynamics import ODE, SDE, Dynamics
from ..errors import FlowkitError, UnsupportedError
from ..interfaces.integrator import Integrator
from ..interfaces.quantity import Quantity
from ..random import BlockGenerator, Generator
from ..shapes import Time, expand_time
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .noise import Brownian, Impulses
from .reference import DTYPES, NormalField, ReferencePath, WavingDiffusion

__all__ = ["CHECKS"]

CHECKS = CheckList()

_SLACK = 0.3
"""How much lower than claimed a measured order may be: the next term of the error is a few steps below the first."""

_ROUNDING = 1e-12
"""Below this an error says nothing of the order any more."""


class _Pendulum(Dynamics):
    """dx/dt = x^2 cos t, which x(t) = 1 / (1 / x(0) - sin t) solves: it depends on time and is not linear."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        self.evaluations += 1
        return x.square() * (math.cos(t) if isinstance(t, float | int) else expand_time(t.cos(), x))

    @staticmethod
    def flow(x: Tensor, t: float, s: float) -> Tensor:
        return 1 / (1 / x + math.sin(t) - math.sin(s))


class _Wave(Dynamics):
    """dX = (cos 3t - sin 2X) dt + (1 + sin(2t) / 2) dW: neither linear nor autonomous."""

    def drift(self, x: Tensor, t: Time) -> Tensor:
        return math.cos(3 * float(t)) - torch.sin(2 * x)

    def diffusion(self, t: float) -> float:
        return 1 + math.sin(2 * t) / 2


@CHECKS.add(hint="the measured order is the claim to make; a weight of the formula, or a time inside the step, may be wrong")
def converges_with_its_order(subject: Subject) -> None:
    """Twice the steps divide the error of an ODE by 2^order, on even and on uneven steps."""
    integrator = _solver_of_odes(subject)
    if _chooses_steps(integrator):
        raise NotApplicable("it chooses its own steps: see its_formula_has_its_order and meets_its_tolerance")
    for name, bend in (("even", 0.0), ("growing", 0.25)):

        def error(steps: int, bend: float = bend) -> float:
            u = _times(steps, 0.0, 1.0)
            return _ode_error(integrator, u + bend * (u * u - u))

        coarse, fine = error(80), error(160)
        if not _has_order(coarse, fine, integrator.order):  # by chance the first terms may cancel: look further
            coarse, fine = fine, error(320)
        _require_order(coarse, fine, integrator.order, f"on {name} steps, twice as many of them")


@CHECKS.add(hint="the order is that of the result which is kept, not that of the error estimate")
def its_formula_has_its_order(subject: Subject) -> None:
    """Of an integrator that chooses its steps, half a step errs 2^(order + 1) times less."""
    integrator = _solver_of_odes(subject)
    if not _chooses_steps(integrator):
        raise NotApplicable("it takes the steps it is given")
    start = _start()

    def error(h: float) -> float:
        found = integrator.step(_Pendulum(), start, 0.3, 0.3 + h)
        return float((found - _Pendulum.flow(start, 0.3, 0.3 + h)).abs().max())

    _require_order(error(0.2), error(0.1), integrator.order + 1, "half the step")


@CHECKS.add(hint="compare the error estimate with the tolerance, and reject the steps that exceed it")
def meets_its_tolerance(subject: Subject) -> None:
    """One that chooses its steps errs at most 100 times the tolerance that it has as `rtol` and `atol` (else 1e-4)."""
    integrator = _solver_of_odes(subject)
    if not _chooses_steps(integrator):
        raise NotApplicable("it takes the steps it is given")
    tolerance = max(getattr(integrator, "rtol", 1e-4), getattr(integrator, "atol", 1e-4))
    error = _ode_error(integrator, torch.tensor([0.0, 1.0], dtype=torch.float64))
    require(error <= 100 * tolerance, f"the error is {error:.3g} with a tolerance of {tolerance:.3g}")


@CHECKS.add(hint="the noise of a step h is sigma_t sqrt(h) xi, and a drift at its end must see it")
def converges_with_its_strong_order(subject: Subject) -> None:
    """Along the same Brownian paths, twice the steps divide the error by 2^order, if it draws once a step."""
    integrator = _solver_of_sdes(subject)
    start, finest = torch.ones(200, 1, dtype=torch.float64), 512

    def end(steps: int) -> Tensor:
        noise = Brownian(0, len(start), finest // steps)
        found = integrator.integrate(_Wave(), start, _times(steps, 0.0, 1.0), noise)
        if noise.draws != steps:
            raise NotApplicable("it does not draw once a step, and how its draws make a Brownian path is its own affair")
        return found

    exact = end(finest)
    errors = [float((end(steps) - exact).square().mean().sqrt()) for steps in (16, 32)]
    _require_order(*errors, integrator.order, "along the same Brownian paths, twice as many steps")


@CHECKS.add(hint="the noise of a step h is sigma_t sqrt(h) xi: not h, not sigma_t^2, not twice")
def mean_and_variance_converge(subject: Subject) -> None:
    """Of an SDE whose solution is normal, mean and variance converge to the right ones, with the order at least."""
    integrator = _solver_of_sdes(subject)
    (mean, variance), (mean_fine, variance_fine) = (_moment_errors(integrator, n) for n in (40, 80))
    require(
        abs(variance_fine) <= 0.05,
        f"the variance at the end is {1 + variance_fine:.3f} times what it should be: the noise has a wrong scale, or "
        f"the drift another",
    )
    require(abs(mean_fine) <= 0.05, f"the mean at the end is off by {mean_fine:.3g} deviations")
    _require_order(abs(mean), abs(mean_fine), integrator.order, "the mean: twice as many steps")
    _require_order(abs(variance), abs(variance_fine), integrator.order, "the variance: twice as many steps")


@CHECKS.add(hint="noise that is added must be taken away by the same step: compare the variance with beta^2 of the path")
def keeps_the_marginals(subject: Subject) -> None:
    """200 steps carry the marginal of a normal distribution at t = 0.2 to that at t = 0.8: its variance to 3 percent."""
    integrator = _on_reference_path(subject)
    mean, variance = _moment_errors(integrator, 200)
    require(abs(mean) <= 0.03, f"the mean is off by {mean:.3g} deviations")
    require(abs(variance) <= 0.03, f"the variance is {1 + variance:.4f} times that of the marginal")


@CHECKS.add(hint="use the sign of s - t: a step may go to an earlier time; one that cannot raises ValueError")
def goes_backwards_or_refuses(subject: Subject) -> None:
    """Backwards in time it solves the same equation, or raises ValueError."""
    integrator = _solver_of_odes(subject)
    dynamics, start, exact = _problem(integrator, 0.8, 0.2)
    try:
        found = integrator.integrate(dynamics, start, _times(80, 0.8, 0.2))
    except (ValueError, UnsupportedError):
        return
    error = float((found - exact).abs().max())  # 80 steps of order 1 err by some 0.01
    require(error <= 0.05, f"from t = 0.8 back to 0.2 the error is {error:.3g}")


@CHECKS.add(hint="`yield x` first, then one state for each later time; `integrate` returns the last")
def a_trajectory_has_a_state_for_every_time(subject: Subject) -> None:
    """`trajectory` starts with x itself, has one state for each time, and ends with that of `integrate`."""
    integrator = _on_reference_path(subject)
    grid, start = _times(6, 0.2, 0.8), _start()
    states = list(integrator.trajectory(_dynamics(integrator), start, grid, seeded(1)))
    require(len(states) == len(grid), f"{len(grid)} times have {len(states)} states")
    require(torch.equal(states[0], start), "the first state is not x itself")
    last = integrator.integrate(_dynamics(integrator), start, grid, seeded(1))
    require_close(states[-1], last, 1e-9, "the last state against that of `integrate`")


@CHECKS.add(hint="a grid of one step is a grid: [t, s]")
def one_step_is_a_grid(subject: Subject) -> None:
    """`step` and `integrate` on two times lead to a finite state of the same shape."""
    integrator = _on_reference_path(subject)
    for found in (
        integrator.step(_dynamics(integrator), _start(), 0.3, 0.4, seeded(1)),
        integrator.integrate(_dynamics(integrator), _start(), [0.3, 0.4], seeded(1)),
    ):
        require(found.shape == _start().shape, f"a state {tuple(_start().shape)} becomes {tuple(found.shape)}")
        require(bool(found.isfinite().all()), "the state is not finite after one step")


@CHECKS.add(hint="say evaluates_end = True, or do not evaluate the drift at the end of a step to t = 1")
def says_whether_it_evaluates_the_end(subject: Subject) -> None:
    """It looks at the model at t = 1 only if `evaluates_end`, and never outside the times it is given."""
    integrator, field = _on_reference_path(subject), NormalField()
    integrator.integrate(_dynamics(integrator, field), _start(), [0.5, 0.75, 1.0], seeded(1))
    latest, earliest = (max(float(t.max()) for t in field.seen), min(float(t.min()) for t in field.seen))
    require(latest <= 1, f"it evaluates the model at t = {latest:.6g}, after the last time")
    require(integrator.evaluates_end or latest < 1, "it evaluates the model at t = 1, and evaluates_end is False")
    if not integrator.stochastic:  # added noise leads back
        require(earliest >= 0.5, f"it evaluates the model at t = {earliest:.6g}, before the first time")


@CHECKS.add(hint="list in `needs` every quantity that `dynamics.predict` is asked for")
def asks_for_what_it_needs(subject: Subject) -> None:
    """It asks the model for the fields in `needs` alone (and the score, for an SDE)."""
    integrator = _on_reference_path(subject)
    given = (*integrator.needs, Quantity.VELOCITY, Quantity.SCORE) if integrator.solves_sde() else integrator.needs
    try:
        integrator.integrate(_dynamics(integrator, NormalField(only=given)), _start(), _times(4, 0.2, 0.8), seeded(1))
    except UnsupportedError as error:
        names = " and ".join(quantity.value for quantity in integrator.needs)
        raise AssertionError(f"it says that it needs the {names}, but {error}") from error


@CHECKS.add(hint="say stochastic = True, or draw nothing")
def says_whether_it_draws(subject: Subject) -> None:
    """What is not `stochastic` gives the same with every generator; what is gives other samples with another seed."""
    integrator = _on_reference_path(subject)
    first, second = (_solve(integrator, seeded(seed)) for seed in (1, 2))
    same = torch.equal(first, second)
    if integrator.stochastic:
        require(not same, "it says that it is stochastic, and two seeds give the same samples")
    else:
        require(same, "it says that it is not stochastic, and two seeds give different samples")


@CHECKS.add(hint="draw with flowkit.randn_like(x, generator), and nothing else")
def repeats_with_its_seed(subject: Subject) -> None:
    """One seed gives the same samples, and the global generator is left alone."""
    integrator = _on_reference_path(subject)
    state = torch.random.get_rng_state()
    first = _solve(integrator, seeded(1))
    require(torch.equal(state, torch.random.get_rng_state()), "it draws from the global generator of torch")
    require(torch.equal(first, _solve(integrator, seeded(1))), "one seed gives different samples")


@CHECKS.add(hint="draw with flowkit.randn_like(x, generator); take no norm, mean or step length over the batch")
def a_sample_does_not_depend_on_the_batch(subject: Subject) -> None:
    """Sample i is the same in a batch of 5 and of 300."""
    integrator = _on_reference_path(subject)
    start = 3 * torch.randn(300, 2, generator=seeded(4), dtype=torch.float64)
    many, few = (_solve(integrator, BlockGenerator(1, 0, n), start[:n]) for n in (300, 5))
    require_close(many[:5], few, 1e-9, "samples in a batch of 300 against the same in a batch of 5")


@CHECKS.add(hint="what is remembered between steps belongs into `trajectory`, not on self")
def keeps_nothing_between_calls(subject: Subject) -> None:
    """Another problem in between changes nothing."""
    integrator = _on_reference_path(subject)
    first = _solve(integrator, seeded(1))
    integrator.integrate(_dynamics(integrator, NormalField(mean=-3.0)), 5 + _start(), _times(7, 0.1, 0.9), seeded(2))
    integrator.step(_dynamics(integrator), _start(), 0.3, 0.4, seeded(3))
    require(torch.equal(first, _solve(integrator, seeded(1))), "after another problem, the same one has another solution")


@CHECKS.add(hint="no float64 constants as tensors, no numpy: numbers multiply a state of any type")
def keeps_the_type_of_the_state(subject: Subject) -> None:
    """float64, float32 and bfloat16 states, vectors and images, keep shape and type, and x is not written to."""
    integrator = _on_reference_path(subject)
    for shape in ((2,), (3, 4, 4)):
        for dtype in DTYPES:
            start = torch.randn(4, *shape, generator=seeded(4)).to(dtype)
            kept = start.clone()
            try:
                found = _solve(integrator, seeded(1), start)
            except UnsupportedError:  # a tolerance finer than the type resolves, say
                continue
            require(found.dtype == dtype, f"a state of {dtype} becomes {found.dtype}")
            require(found.shape == start.shape, f"a state {tuple(start.shape)} becomes {tuple(found.shape)}")
            require(bool(found.isfinite().all()), f"a state of {dtype} becomes infinite or NaN")
            require(torch.equal(start, kept), "the state that it starts from has been written to")


@CHECKS.add(hint="no detach, no no_grad and no .item() of states on the way")
def gradients_go_through_the_steps(subject: Subject) -> None:
    """The derivative of the last state in the first is that of finite differences."""
    integrator, start = _on_reference_path(subject), _start().requires_grad_()
    end = _solve(integrator, seeded(1), start)
    require(end.requires_grad, "the last state carries no gradient to the first")
    (gradient,) = torch.autograd.grad(end.sum(), start)
    with torch.no_grad():
        ahead, behind = (_solve(integrator, seeded(1), start + h) for h in (1e-4, -1e-4))
    # Elements do not mix here. Differences err by 1e-8; an adaptive step may change its length: the tolerance's root.
    require_close(gradient, (ahead - behind) / 2e-4, 1e-2, "the gradient of the last state in the first")


def _start() -> Tensor:
    return torch.tensor([[0.5, -0.7], [0.2, 0.4], [-0.3, 0.6]], dtype=torch.float64)


def _times(steps: int, start: float, end: float) -> Tensor:
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def _on_reference_path(subject: Subject) -> Integrator:
    integrator: Integrator = subject.component
    if problems := integrator.problems(ReferencePath()):
        raise NotApplicable(f"it does not go with a Gaussian path: {'; '.join(problems)}")
    return integrator


def _solver_of_odes(subject: Subject) -> Integrator:
    integrator = _on_reference_path(subject)
    if integrator.stochastic:
        raise NotApplicable("it is stochastic")
    return integrator


def _solver_of_sdes(subject: Subject) -> Integrator:
    integrator = _on_reference_path(subject)
    if not integrator.solves_sde():
        raise NotApplicable("it solves no SDE of a given diffusion coefficient")
    return integrator


def _dynamics(integrator: Integrator, field: NormalField | None = None) -> Dynamics:
    """What it solves for data of one normal distribution."""
    field, path = field or NormalField(), ReferencePath()
    return SDE(field, WavingDiffusion(), path) if integrator.solves_sde() else ODE(field, path=path)


def _solve(integrator: Integrator, generator: Generator, start: Tensor | None = None) -> Tensor:
    return integrator.integrate(_dynamics(integrator), _start() if start is None else start, _times(6, 0.2, 0.8), generator)


def _problem(integrator: Integrator, t: float, s: float) -> tuple[Dynamics, Tensor, Tensor]:
    """An ODE that the integrator solves, a start and the exact end: the pendulum where a drift is enough."""
    start = _start()
    if integrator.needs == (Quantity.VELOCITY,):
        return _Pendulum(), start, _Pendulum.flow(start, t, s)
    return _dynamics(integrator), start, NormalField().flow(start, t, s)


def _ode_error(integrator: Integrator, u: Tensor) -> float:
    grid = 0.2 + 0.6 * u
    dynamics, start, exact = _problem(integrator, 0.2, 0.8)
    return float((integrator.integrate(dynamics, start, grid) - exact).abs().max())


def _chooses_steps(integrator: Integrator) -> bool:
    """Whether it evaluates as often for 40 steps as for 20."""
    counts = []
    for steps in (20, 40):
        dynamics, start, _ = _problem(integrator, 0.2, 0.8)
        integrator.integrate(dynamics, start, _times(steps, 0.2, 0.8))
        counts.append(dynamics.evaluations)
    return counts[0] == counts[1]


def _moment_errors(integrator: Integrator, steps: int) -> tuple[float, float]:
    """How far mean (in deviations) and variance (relative) are off at t = 0.8, from the exact ones at t = 0.2.

    Exact, without sampling: for one normal distribution every step is affine in the state and the noise.
    """
    field, grid = NormalField(), _times(steps, 0.2, 0.8)
    (mean, std), (mean_end, std_end) = field.moments(0.2), field.moments(0.8)

    def end(draws: int) -> tuple[Tensor, int]:
        x = torch.full((2 + draws, 1), mean, dtype=torch.float64)
        x[1] += std
        noise = Impulses(len(x), 2)
        return integrator.integrate(_dynamics(integrator), x, grid, noise), noise.next - 2

    x, _ = end(end(0)[1])
    off = x[1:] - x[0]
    return float((x[0] - mean_end) / std_end), float(off.square().sum()) / std_end**2 - 1


def _has_order(coarse: float, fine: float, order: float) -> bool:
    return fine <= max(coarse * 2 ** -(order - _SLACK), _ROUNDING)


def _require_order(coarse: float, fine: float, order: float, what: str) -> None:
    require(math.isfinite(coarse) and math.isfinite(fine), f"{what}: the error is not a finite number")
    if _has_order(coarse, fine, order):
        return
    seen = math.log2(coarse / fine)
    raise AssertionError(f"{what} takes the error from {coarse:.3g} to {fine:.3g}: order {seen:.2f} instead of {order:g}")
