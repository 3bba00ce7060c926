"""The integrators that choose their steps: tolerance, samples on their own, dense output, counts, refusals."""

import math
from itertools import pairwise

import pytest
import torch
import torchdiffeq
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from flowkit_gaussian.source import GaussianSource
from flowkit_guidance.classifier_free import ClassifierFreeGuidance
from flowkit_heads.heads import VelocityHead
from flowkit_networks.mlp import MLP
from flowkit_ode.bosh3 import Bosh3
from flowkit_ode.dopri5 import Dopri5
from oracles import GaussianMixture, mixture, seeded

import flowkit as fk
from flowkit import ODE, Dynamics, FlowkitError, UnsupportedError

METHODS = {"bosh3": Bosh3, "dopri5": Dopri5}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
both_controls = pytest.mark.parametrize("per_sample", [False, True], ids=["whole batch", "each sample"])
EVALUATIONS = {Bosh3: 3, Dopri5: 6}


class Riccati(Dynamics):
    """dx/dt = r x^2 cos(r t), which x(t) = 1 / (1 / x(0) - sin(r t)) solves; it notes where it was evaluated."""

    def __init__(self, rate=1.0):
        self.rate, self.seen = rate, []

    def drift(self, x, t):
        self.seen.append(t)
        cosine = torch.cos(self.rate * torch.as_tensor(t, dtype=torch.float64))
        return self.rate * x.square() * fk.expand_time(cosine, x)

    def solution(self, x0, t):
        return 1 / (1 / x0 - torch.sin(self.rate * torch.as_tensor(t, dtype=torch.float64)).to(x0.dtype))


class Blowing(Dynamics):
    """dx/dt = x^2, which from x(0) = 2 is infinite at t = 1/2."""

    def drift(self, x, t):
        return x.square()


def states(*shape):
    return torch.randn(*shape, generator=seeded(), dtype=torch.float64)


@every_method
@pytest.mark.parametrize("backwards", [False, True])
def test_the_formula_without_control_has_its_order(method, backwards):
    """Steps from 120 to 480: more, and rounding would show; fewer, and the next term of the error."""
    field, x0 = Riccati(6.0), torch.tensor([[0.5], [-0.7], [0.2]], dtype=torch.float64)
    x, exact = (field.solution(x0, 1.0), x0) if backwards else (x0, field.solution(x0, 1.0))

    def error(steps):
        grid, state = torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist(), x
        for t, s in pairwise(grid[::-1] if backwards else grid):
            state = method().step(field, state, t, s)
        return float((state - exact).abs().max())

    errors = [error(n) for n in (120, 240, 480)]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([method.order] * 2, abs=0.2)


@every_method
@both_controls
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7])
def test_the_error_is_as_small_as_was_asked(method, per_sample, backwards, tolerance):
    """Each of n steps errs by the tolerance at most, and this flow magnifies no error more than 10 times (its
    derivative is (x(t) / x(0))^2 <= 1 / (1 - 0.7)^2 < 12); the n is generous, since the estimate is that of the
    method of lower order.
    """
    field, start = Riccati(), torch.tensor([[0.5], [-0.7], [0.2], [0.7]], dtype=torch.float64)
    end = field.solution(start, 1.0)
    x, exact, times = (end, start, [1.0, 0.0]) if backwards else (start, end, [0.0, 1.0])
    found = method(tolerance, tolerance, per_sample).integrate(field, x, times)
    assert (found - exact).abs().max() < 12 * tolerance * (1 + exact.abs().max())


@every_method
@both_controls
@pytest.mark.parametrize("schedule", ["condot", "cosine"])
def test_noise_is_carried_to_one_gaussian_along_its_exact_map(method, per_sample, schedule):
    """x_1 = m + s x_0. The flow shrinks errors, s < 1, so 50 steps within the tolerance are off by 50 of it."""
    oracle, x0 = GaussianMixture([[1.0, -2.0]], [0.4], [1.0], schedule), states(50, 2)
    errors = [
        float(
            (method(tol, tol, per_sample).integrate(ODE(oracle), x0, [0.0, 1.0]) - oracle.means - 0.4 * x0).abs().max()
        )
        for tol in (1e-3, 1e-5)
    ]
    assert errors[0] < 50 * 3e-3
    assert errors[1] < 50 * 3e-5


@every_method
@both_controls
def test_the_error_falls_with_the_tolerance_as_an_error_of_a_step_does(method, per_sample):
    """A step h with the estimate C h^p within the tolerance has the error h^(p+1), and there are 1/h of them: the error
    at the end is proportional to the tolerance. Over 3 decades that is 3, give or take one for steps that are few.
    """
    oracle, x0 = mixture(), states(20, 2)
    exact = Dopri5(1e-11, 1e-11).integrate(ODE(oracle), x0, [0.0, 1.0])
    errors, costs = [], []
    for tolerance in (1e-3, 1e-4, 1e-6):
        ode = ODE(oracle)
        found = method(tolerance, tolerance, per_sample).integrate(ode, x0, [0.0, 1.0])
        errors.append(float((found - exact).square().mean().sqrt()))
        costs.append(ode.evaluations)
    assert math.log10(errors[0] / errors[2]) == pytest.approx(3, abs=1)
    assert errors == sorted(errors, reverse=True)
    assert costs == sorted(costs)
    assert errors[2] < 1e-5


def test_there_and_back_is_where_it_began():
    """Encoding and decoding: the flow back magnifies by at most 1/0.6, the least deviation of the data."""
    oracle, x0 = mixture(), states(50, 2)
    solver = Dopri5(1e-8, 1e-8)
    x1 = solver.integrate(ODE(oracle), x0, [0.0, 1.0])
    torch.testing.assert_close(solver.integrate(ODE(oracle), x1, [1.0, 0.0]), x0, rtol=0, atol=1e-5)
    assert (x1 - x0).abs().max() > 0.5


@pytest.mark.parametrize("tolerance", [1e-5, 1e-7])
def test_it_agrees_with_torchdiffeq(tolerance):
    """Both are within 100 tolerances of the solution (see above), so they are within 200 of each other."""
    oracle, x0 = mixture(), states(30, 2)
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    theirs = torchdiffeq.odeint(
        lambda t, x: oracle.velocity(x, float(t)), x0, times, rtol=tolerance, atol=tolerance, method="dopri5"
    )
    ours = torch.stack(list(Dopri5(tolerance, tolerance).trajectory(ODE(oracle), x0, times)))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=200 * tolerance)


# Samples on their own.


@every_method
@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 0.6, 0.2, 0.0]])
def test_a_sample_does_not_depend_on_its_batch_mates(method, times):
    """To the bit, where the drift treats rows alike; matrix products may round rows of other batches differently."""
    x = torch.tensor([[0.5], [-0.7], [0.2], [0.001]], dtype=torch.float64)
    solver = method(1e-6, 1e-6, per_sample=True)
    together = torch.stack(list(solver.trajectory(Riccati(), x, times)))
    for i in range(4):
        alone = torch.stack(list(solver.trajectory(Riccati(), x[i : i + 1], times)))
        assert torch.equal(together[:, i : i + 1], alone)
    shared = method(1e-6, 1e-6, per_sample=False)
    assert not torch.equal(shared.integrate(Riccati(), x, times)[:1], shared.integrate(Riccati(), x[:1], times))


def test_with_a_network_a_sample_depends_on_its_batch_mates_by_rounding_only():
    """Float32 rounds at 6e-8; steps of two batches differ by that, and so do the ends, magnified by the flow."""
    torch.manual_seed(0)
    model = fk.Model(MLP(event_shape=(2,)), VelocityHead(), GaussianPath(CondOT()))
    x = torch.randn(40, 2, generator=seeded())
    with torch.no_grad():
        solver = Dopri5(1e-4, 1e-4, per_sample=True)
        together = solver.integrate(ODE(model), x, [0.0, 1.0])
        parts = torch.cat([solver.integrate(ODE(model), part, [0.0, 1.0]) for part in x.split(7)])
    torch.testing.assert_close(together, parts, rtol=0, atol=1e-5)


def test_every_sample_meets_the_tolerance_where_the_batch_on_average_does_not():
    """One difficult sample among a thousand at rest: the mean square of the batch hides it."""
    x = torch.zeros(1000, 1, dtype=torch.float64)
    x[0] = 0.99
    field = Riccati(math.pi / 2)
    hidden, seen = (
        float((Dopri5(1e-5, 1e-5, per).integrate(field, x, [0.0, 1.0]) - field.solution(x, 1.0)).abs().max())
        for per in (False, True)
    )
    assert hidden > 5 * seen


def test_guidance_and_likelihood_take_a_time_for_each_sample():
    oracle, x, y = mixture(), states(6, 2), torch.tensor([0, 1, 2, -1, 0, 1])
    guided = ClassifierFreeGuidance(1.5).guide(oracle)
    each, whole = (Dopri5(1e-8, 1e-8, per).integrate(ODE(guided, y=y), x, [0.0, 1.0]) for per in (True, False))
    torch.testing.assert_close(each, whole, rtol=0, atol=1e-6)
    found = fk.log_prob(oracle, x, source=GaussianSource(), integrator=Dopri5(1e-7, 1e-7), times=[0.0, 1.0])
    torch.testing.assert_close(found, oracle.log_prob(x), rtol=0, atol=1e-5)


def test_an_sde_refuses_a_time_for_each_sample():
    sde = fk.SDE(mixture(), fk.create("diffusion", "constant"), path=GaussianPath(CondOT()))
    with pytest.raises(UnsupportedError, match="one time for all samples"):
        sde.drift(states(2, 2), torch.full((2,), 0.5))


# Dense output.


@every_method
@both_controls
def test_states_in_between_have_the_order_of_the_interpolant(method, per_sample):
    """Of one step of length h from the exact state, theta = 0.4 of it is off by C h^(q+1): q = 3 for the cubic of
    bosh3 and 4 for that of dopri5.
    """
    order = {Bosh3: 3, Dopri5: 4}[method]
    x = torch.tensor([[0.5], [-0.7]], dtype=torch.float64)
    solver, field = method(1.0, 1e3, per_sample), Riccati()  # so loose that there is one step

    def error(h):
        _, between, _ = solver.trajectory(field, x, [0.0, 0.4 * h, h])
        return float((between - field.solution(x, 0.4 * h)).abs().max())

    errors = [error(h) for h in (0.2, 0.1, 0.05)]
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([order + 1] * 2, abs=0.3)


@every_method
@both_controls
@pytest.mark.parametrize("backwards", [False, True])
def test_a_trajectory_has_a_state_for_every_time_and_takes_no_more_steps_for_it(method, per_sample, backwards):
    """Between steps the error is about that of the steps: within 20 of them."""
    field, start = Riccati(), torch.tensor([[0.5], [-0.7], [0.2]], dtype=torch.float64)
    grid = torch.linspace(0, 1, 38, dtype=torch.float64)
    grid = grid.flip(0) if backwards else grid
    x, solver = field.solution(start, grid[0]), method(1e-6, 1e-6, per_sample)
    found = list(solver.trajectory(field, x, grid))
    seen = len(field.seen)
    assert len(found) == 38
    assert torch.equal(found[0], x)
    for t, state in zip(grid, found, strict=True):
        torch.testing.assert_close(state, field.solution(start, t), rtol=0, atol=2e-4)
    assert torch.equal(found[-1], solver.integrate(field, x, grid))
    assert len(field.seen) == 2 * seen


@both_controls
def test_times_may_repeat(per_sample):
    field, x = Riccati(), torch.tensor([[0.5]], dtype=torch.float64)
    found = list(Dopri5(per_sample=per_sample).trajectory(field, x, [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    assert torch.equal(found[4], found[5])
    assert list(Dopri5().trajectory(field, x, [0.3])) == [x]
    assert list(Dopri5().trajectory(field, x, [0.3, 0.3])) == [x, x]


def test_times_that_turn_back_are_refused():
    with pytest.raises(UnsupportedError, match="times should all go one way"):
        Dopri5().integrate(Riccati(), states(2, 1), [0.0, 1.0, 0.5])


@every_method
@both_controls
@pytest.mark.parametrize("swapped", [False, True], ids=["growing", "shrinking"])
def test_an_error_is_measured_against_the_larger_of_the_states_at_both_ends_of_a_step(method, per_sample, swapped):
    """The root mean square of e / (atol + rtol max(|x|, |x'|)), e from the weights of the tableau."""
    x, new = states(3, 2), 10 * states(3, 2).flip(0)
    x, new = (new, x) if swapped else (x, new)
    slopes = list(torch.randn(EVALUATIONS[method] + 1, 3, 2, generator=seeded(1), dtype=torch.float64))
    error = 0.3 * sum(weight * slope for weight, slope in zip(method.tableau.error, slopes, strict=True))
    relative = error / (0.01 + 0.1 * torch.stack([x, new]).abs().amax(0))
    expected = relative.square().mean(1).sqrt() if per_sample else relative.square().mean().sqrt()
    torch.testing.assert_close(method(0.1, 0.01, per_sample)._error(x, new, 0.3, slopes), expected)


# Counts.


@every_method
@both_controls
def test_evaluations_are_those_of_every_tried_step_and_two_to_begin(method, per_sample):
    """The slope at the end of a step is the first of the next. Accepted steps are counted by the times that new slopes
    begin at."""
    field, x = Riccati(8.0), torch.tensor([[0.5], [-0.7]], dtype=torch.float64)
    method(1e-6, 1e-6, per_sample).integrate(field, x, [0.0, 1.0])
    tried, left = divmod(len(field.seen) - 2, EVALUATIONS[method])
    assert left == 0
    ends = [torch.as_tensor(t).min().item() for t in field.seen[1 + EVALUATIONS[method] :: EVALUATIONS[method]]]
    assert len(ends) == tried
    if not per_sample:
        # A rejected try ends later than the one that follows it.
        assert field.rejected == sum(b <= a for a, b in pairwise(ends))
    assert 0 < field.rejected < tried
    assert max(ends) == 1


@every_method
@both_controls
def test_no_time_is_looked_at_beyond_the_ends(method, per_sample):
    for times in ([0.0, 1.0], [1.0, 0.0], [0.2, 0.9]):
        field = Riccati()
        method(1e-7, 1e-7, per_sample).integrate(field, states(3, 1) / 5, times)
        seen = torch.cat([torch.as_tensor(t, dtype=torch.float64).reshape(-1) for t in field.seen])
        assert seen.min() == min(times)
        assert seen.max() == max(times)
        assert method.evaluates_end


def test_a_pipeline_counts_what_sampling_took(tiny, tmp_path):
    pipeline, cost = tiny.build(), fk.Cost()
    pipeline.sample(600, cost=cost, steps=7, batch_size=256)
    assert (cost.evaluations, cost.rejected, cost.batches) == (21, 0, 3)
    cost = fk.Cost()
    pipeline.sample(10, cost=cost, integrator={"name": "dopri5", "rtol": 1e-4})
    assert (cost.evaluations - 2) % 6 == 0
    assert cost.batches == 1


# Precision.


@every_method
@both_controls
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=str)
def test_states_of_low_precision_are_solved_within_it(method, per_sample, dtype, tolerance):
    """As above, 12 tolerances, with the rounding of the result on top; the times are not rounded."""
    field, x = Riccati(), torch.tensor([[0.5], [-0.7], [0.2]], dtype=dtype)
    found = method(tolerance, tolerance, per_sample).integrate(field, x, [0.0, 1.0])
    exact = field.solution(x.double(), 1.0)
    assert found.dtype == dtype
    assert (found - exact).abs().max() < 12 * (tolerance + torch.finfo(dtype).eps) * (1 + exact.abs().max())
    assert all(isinstance(t, float) or t.dtype == torch.float64 for t in field.seen)


@both_controls
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-8), (torch.bfloat16, 1e-3)], ids=str)
def test_a_tolerance_finer_than_the_states_resolve_is_refused(dtype, tolerance, per_sample):
    with pytest.raises(UnsupportedError, match=f"rtol = {tolerance:g} .* is finer than {dtype} resolves"):
        Dopri5(tolerance, 0.0, per_sample).integrate(Riccati(), torch.full((2, 1), 0.5, dtype=dtype), [0.0, 1.0])


def test_an_absolute_tolerance_alone_is_enough_where_it_can_be_met():
    field, x = Riccati(), torch.tensor([[0.5]], dtype=torch.float32)
    found = Dopri5(0.0, 1e-5).integrate(field, x, [0.0, 1.0])
    torch.testing.assert_close(found, field.solution(x, 1.0), rtol=0, atol=1e-4)


# Ends of patience.


@every_method
@both_controls
def test_a_solution_that_does_not_exist_ends_in_an_error_not_in_a_loop(method, per_sample):
    x = torch.tensor([[2.0], [0.1]], dtype=torch.float64)
    with pytest.raises(FlowkitError, match=r"steps shorter than min_step = 1e-05 at t = 0\.(5|4999)"):
        method(1e-4, 1e-4, per_sample, min_step=1e-5).integrate(Blowing(), x, [0.0, 1.0])


@both_controls
def test_a_drift_that_is_not_a_number_ends_in_an_error(per_sample):
    class Broken(Dynamics):
        def drift(self, x, t):
            return x * math.nan

    with pytest.raises(FlowkitError, match="at t = 0: the drift is not finite"):
        Dopri5(per_sample=per_sample).integrate(Broken(), states(2, 1), [0.0, 1.0])


@every_method
@both_controls
def test_too_many_steps_end_in_an_error(method, per_sample):
    with pytest.raises(FlowkitError, match=r"max_steps = 5 steps and is at t = 0\.\d+, short of 1"):
        method(1e-9, 1e-9, per_sample, max_steps=5).integrate(Riccati(8.0), states(2, 1), [0.0, 1.0])


def test_no_tolerance_at_all_is_refused():
    with pytest.raises(ValueError, match="rtol and atol are both 0"):
        Dopri5(0.0, 0.0)


# Gradients.


@every_method
@both_controls
def test_gradients_go_through_the_solution(method, per_sample):
    """Of x(1) = 1 / (1 / x(0) - sin r) the derivatives are (x(1) / x(0))^2 in x(0) and x(1)^2 cos r in r; with an error
    of 1e-9 of x(1), these are met to 1e-6. Finite differences agree.
    """
    x = torch.tensor([[0.5], [-0.7]], dtype=torch.float64, requires_grad=True)
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    solver = method(1e-9, 1e-9, per_sample)

    def solve(x, rate):
        return solver.integrate(Riccati(rate), x, [0.0, 1.0])

    end = solve(x, rate)
    by_x, by_rate = torch.autograd.grad(end.sum(), (x, rate))
    torch.testing.assert_close(by_x, (end / x).square().detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(by_rate, (end.square() * rate.cos()).sum().detach(), rtol=1e-6, atol=0)
    with torch.no_grad():
        numeric = (solve(x, rate + 1e-4) - solve(x, rate - 1e-4)).sum() / 2e-4
    torch.testing.assert_close(by_rate, numeric, rtol=1e-5, atol=0)


def test_gradients_go_through_states_in_between_of_samples_on_their_own():
    field, x = Riccati(), torch.tensor([[0.5], [-0.7]], dtype=torch.float64, requires_grad=True)
    between = list(Dopri5(1e-8, 1e-8).trajectory(field, x, [0.0, 0.3, 0.7, 1.0]))[1]
    (found,) = torch.autograd.grad(between.sum(), x)
    torch.testing.assert_close(found, (field.solution(x, 0.3) / x).square().detach(), rtol=1e-5, atol=0)
