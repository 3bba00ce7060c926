"""What every integrator must do: converge, draw and evaluate as it says, and leave nothing over between calls."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.integrator import Integrator
from ..interfaces.quantity import Quantity
from ..random import BlockGenerator, Generator
from .check import NotApplicable, Subject, require, require_close, seeded
from .convergence import CHECKS
from .problems import dynamics_for, even_times, ode_problem, on_reference_path, start_state
from .reference import DTYPES, NormalField

__all__ = ["CHECKS"]

# The list goes on from convergence.py.


@CHECKS.add(hint="`yield x` first, then one state for each later time; `integrate` returns the last")
def a_trajectory_has_a_state_for_every_time(subject: Subject) -> None:
    """`trajectory` starts with x itself, has one state for each time, and ends with that of `integrate`."""
    integrator = on_reference_path(subject)
    grid, start = even_times(6, 0.2, 0.8), start_state()
    states = list(integrator.trajectory(dynamics_for(integrator), start, grid, seeded(1)))
    require(len(states) == len(grid), f"{len(grid)} times have {len(states)} states")
    require(torch.equal(states[0], start), "the first state is not x itself")
    last = integrator.integrate(dynamics_for(integrator), start, grid, seeded(1))
    require_close(states[-1], last, 1e-9, "the last state against that of `integrate`")


@CHECKS.add(hint="a grid of one step is a grid: [t, s]")
def one_step_is_a_grid(subject: Subject) -> None:
    """`step`, and `integrate` on two times, lead to a state of the same shape, and towards the solution."""
    integrator, start = on_reference_path(subject), start_state()
    dynamics, _, exact = ode_problem(integrator, 0.3, 0.4)
    dynamics = dynamics_for(integrator) if integrator.solves_sde() else dynamics
    for found in (
        integrator.step(dynamics, start, 0.3, 0.4, seeded(1)),
        integrator.integrate(dynamics, start, [0.3, 0.4], seeded(1)),
    ):
        require(found.shape == start.shape, f"a state {tuple(start.shape)} becomes {tuple(found.shape)}")
        require(bool(found.isfinite().all()), "the state is not finite after one step")
        left, way = float((found - exact).norm()), float((start - exact).norm())  # a step of order 1 leaves a tenth
        require(integrator.stochastic or left <= way / 2, f"after one step, {left / way:.2g} of the way is left")


@CHECKS.add(hint="say evaluates_end = True, or do not evaluate the drift at the end of a step to t = 1")
def says_whether_it_evaluates_the_end(subject: Subject) -> None:
    """It looks at the model at t = 1 only if `evaluates_end`, and never outside the times it is given."""
    integrator, field = on_reference_path(subject), NormalField()
    integrator.integrate(dynamics_for(integrator, field), start_state(), [0.5, 0.75, 1.0], seeded(1))
    latest, earliest = (max(float(t.max()) for t in field.seen), min(float(t.min()) for t in field.seen))
    require(latest <= 1, f"it evaluates the model at t = {latest:.6g}, after the last time")
    require(integrator.evaluates_end or latest < 1, "it evaluates the model at t = 1, and evaluates_end is False")
    if not integrator.stochastic:  # added noise leads back
        require(earliest >= 0.5, f"it evaluates the model at t = {earliest:.6g}, before the first time")


@CHECKS.add(hint="list in `needs` every quantity that `dynamics.predict` is asked for")
def asks_for_what_it_needs(subject: Subject) -> None:
    """It asks the model for the fields in `needs` alone (and the score, for an SDE)."""
    integrator = on_reference_path(subject)
    given = (*integrator.needs, Quantity.VELOCITY, Quantity.SCORE) if integrator.solves_sde() else integrator.needs
    try:
        integrator.integrate(
            dynamics_for(integrator, NormalField(only=given)), start_state(), even_times(4, 0.2, 0.8), seeded(1)
        )
    except UnsupportedError as error:
        names = " and ".join(quantity.value for quantity in integrator.needs)
        raise AssertionError(f"it says that it needs the {names}, but {error}") from error


@CHECKS.add(hint="say stochastic = True, or draw nothing")
def says_whether_it_draws(subject: Subject) -> None:
    """What is not `stochastic` gives the same with every generator; what is gives other samples with another seed."""
    integrator = on_reference_path(subject)
    first, second = (_solve(integrator, seeded(seed)) for seed in (1, 2))
    same = torch.equal(first, second)
    if integrator.stochastic:
        require(not same, "it says that it is stochastic, and two seeds give the same samples")
    else:
        require(same, "it says that it is not stochastic, and two seeds give different samples")


@CHECKS.add(hint="draw with flowkit.randn_like(x, generator), and nothing else")
def repeats_with_its_seed(subject: Subject) -> None:
    """One seed gives the same samples, and the global generator is left alone."""
    integrator = on_reference_path(subject)
    state = torch.random.get_rng_state()
    first = _solve(integrator, seeded(1))
    require(torch.equal(state, torch.random.get_rng_state()), "it draws from the global generator of torch")
    require(torch.equal(first, _solve(integrator, seeded(1))), "one seed gives different samples")


@CHECKS.add(hint="draw noise of the whole shape of x: flowkit.randn_like(x, generator)")
def every_element_has_noise_of_its_own(subject: Subject) -> None:
    """From one start, no two samples and no two elements come to the same end."""
    integrator = on_reference_path(subject)
    if not integrator.stochastic:
        raise NotApplicable("it is not stochastic")
    start = torch.zeros(16, 2, dtype=torch.float64)
    for generator in (seeded(1), BlockGenerator(1, 0, len(start))):
        ends = len(_solve(integrator, generator, start).unique())
        require(ends == start.numel(), f"{start.numel()} elements that start alike come to {ends} different ends")


@CHECKS.add(hint="draw with flowkit.randn_like(x, generator); take no norm, mean or step length over the batch")
def a_sample_does_not_depend_on_the_batch(subject: Subject) -> None:
    """Sample i of a seed is the same in a batch of 300 and in smaller ones."""
    integrator = on_reference_path(subject)
    start = 3 * torch.randn(300, 2, generator=seeded(4), dtype=torch.float64)
    many = _solve(integrator, BlockGenerator(1, 0, 300), start)
    for first, last in ((0, 5), (256, 300)):
        few = _solve(integrator, BlockGenerator(1, first, last - first), start[first:last])
        require_close(
            few, many[first:last], 1e-9, f"samples {first} to {last - 1} alone against those in a batch of 300"
        )


@CHECKS.add(hint="what is remembered between steps belongs into `trajectory`, not on self")
def keeps_nothing_between_calls(subject: Subject) -> None:
    """Two problems whose trajectories are solved side by side have the states that each has alone."""
    integrator, grid = on_reference_path(subject), even_times(6, 0.2, 0.8)

    def states(mean: float) -> Iterator[Tensor]:
        return integrator.trajectory(dynamics_for(integrator, NormalField(mean)), start_state() + mean, grid, seeded(1))

    alone = list(states(1.0))
    for expected, (found, _) in zip(alone, zip(states(1.0), states(-3.0), strict=True), strict=True):
        require(torch.equal(expected, found), "beside another problem, the same one has another solution")


@CHECKS.add(hint="no float64 constants as tensors, no numpy: numbers multiply a state of any type")
def keeps_the_type_of_the_state(subject: Subject) -> None:
    """float64, float32 and bfloat16 states, vectors and images, keep shape and type, and x is not written to."""
    integrator = on_reference_path(subject)
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
    integrator, start = on_reference_path(subject), start_state().requires_grad_()
    end = _solve(integrator, seeded(1), start)
    require(end.requires_grad, "the last state carries no gradient to the first")
    (gradient,) = torch.autograd.grad(end.sum(), start)
    with torch.no_grad():
        ahead, behind = (_solve(integrator, seeded(1), start + h) for h in (1e-4, -1e-4))
    # Elements do not mix here. Differences err by 1e-8; an adaptive step may change its length: the tolerance's root.
    require_close(gradient, (ahead - behind) / 2e-4, 1e-2, "the gradient of the last state in the first")


def _solve(integrator: Integrator, generator: Generator, start: Tensor | None = None) -> Tensor:
    return integrator.integrate(
        dynamics_for(integrator), start_state() if start is None else start, even_times(6, 0.2, 0.8), generator
    )
