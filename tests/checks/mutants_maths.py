"""For every mathematical check a component that is wrong in the way that the check is about, and in little else."""

import copy
import math

import numpy as np
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_heads.heads import JointHead
from flowkit_interpolants.paths import Trigonometric
from flowkit_losses.cfm import ConditionalFlowMatching
from flowkit_losses.importance import ImportanceTime
from flowkit_losses.times import UniformTime
from flowkit_ode.bosh3 import Bosh3
from flowkit_ode.dopri5 import Dopri5
from flowkit_ode.euler import Euler
from flowkit_ode.heun import Heun
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.euler_maruyama import EulerMaruyama

import flowkit as fk
from flowkit import Quantity
from flowkit.testing.reference import ReferencePath, ReferenceSchedule


def spoiled(component, **members):
    """The component with some members of its class replaced."""
    other = copy.copy(component)
    other.__class__ = type(f"Spoiled{type(component).__name__}", (type(component),), members)
    return other


def wrong(component, **changes):
    """The component with `change(result)` in the place of the results of some methods."""

    def changed(name, change):
        right = getattr(type(component), name)
        return lambda *args, **kwargs: change(right(*args, **kwargs))

    return spoiled(component, **{name: changed(name, change) for name, change in changes.items()})


# Schedules.

SCHEDULE = ReferenceSchedule()
WARPED = {
    "alpha": lambda self, t: torch.sin(math.pi / 2 * (t + 0.3 * torch.sin(2 * math.pi * t))),
    "beta": lambda self, t: torch.cos(math.pi / 2 * (t + 0.3 * torch.sin(2 * math.pi * t))),
}
SCHEDULES = {
    "starts_with_noise": wrong(SCHEDULE, alpha=lambda alpha: 0.5 + alpha / 2),
    "ends_with_the_data": wrong(SCHEDULE, alpha=lambda alpha: 0.9 * alpha),
    "ends_without_noise": wrong(SCHEDULE, beta=lambda beta: 0.1 + beta),
    "the_data_never_fade": spoiled(SCHEDULE, **WARPED),
    "the_signal_to_noise_ratio_grows": spoiled(SCHEDULE, **WARPED),
    "alpha_dot_is_the_derivative_of_alpha": wrong(SCHEDULE, alpha_dot=lambda slope: 1.01 * slope),
    "beta_dot_is_the_derivative_of_beta": wrong(SCHEDULE, beta_dot=lambda slope: -slope),
    "log_snr_is_that_of_alpha_and_beta": wrong(SCHEDULE, log_snr=lambda log_snr: log_snr / 2),
    "time_of_log_snr_inverts_log_snr": wrong(SCHEDULE, time_of_log_snr=lambda t: t**2),
    "a_log_snr_out_of_range_is_at_an_end": wrong(SCHEDULE, time_of_log_snr=lambda t: t.clamp(0.01, 0.99)),
    "keeps_the_shape_of_t": wrong(SCHEDULE, beta=lambda beta: beta.reshape(-1)),
    "keeps_the_precision_of_t": wrong(SCHEDULE, alpha=lambda alpha: alpha.float()),
    "is_finite_at_both_ends": wrong(SCHEDULE, alpha=lambda alpha: alpha * alpha / alpha),
}

# Paths.

PATH, GAUSSIAN, BRIDGE = ReferencePath(), GaussianPath(), Trigonometric("quadratic")


def without_data_mean(self, value, x, t, given, wanted, data_mean=0.0):
    return GaussianPath.convert(self, value, x, t, given, wanted)


class Bridge(fk.Path):
    """A Brownian bridge, N(t z + (1 - t) x0, t (1 - t) I), whose score is given both ends."""

    def mean(self, x0, z, t):
        return torch.lerp(x0, z, t.reshape(-1, *(1,) * (z.ndim - 1)))

    def variance(self, x, t):
        return (t * (1 - t)).reshape(-1, *(1,) * (x.ndim - 1))

    def sample(self, x0, z, t, generator=None):
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        return self.mean(x0, z, t) + self.variance(z, t).sqrt() * noise

    def velocity(self, x, x0, z, t):
        slope = (1 - 2 * t).reshape(-1, *(1,) * (x.ndim - 1)) / (2 * self.variance(x, t))
        return z - x0 + slope * (x - self.mean(x0, z, t))

    def score(self, x, x0, z, t):
        return (self.mean(x0, z, t) - x) / self.variance(x, t)


def one_time_halved(self, value, x, t, given, wanted, data_mean=0.0):
    return ReferencePath.convert(self, value, x, t if isinstance(t, torch.Tensor) else t / 2, given, wanted)


def noise_off_by_one(self, value, x, t, given, wanted, data_mean=0.0):
    found = ReferencePath.convert(self, value, x, t, given, wanted)
    return found + (wanted is Quantity.NOISE)


def score_upside_down(self, value, x, t, given, wanted, data_mean=0.0):
    found = ReferencePath.convert(self, value, x, t, given, wanted)
    return found * (-1 if Quantity.SCORE in (given, wanted) else 1)


def global_noise(self, x0, z, t, generator=None):
    return ReferencePath.sample(self, x0, z, t) + 1e-9 * torch.randn(x0.shape, dtype=x0.dtype)


def in_place(self, x0, z, t, generator=None):
    return z.mul_(self.schedule.alpha(t)[:, None]).add_(self.schedule.beta(t)[:, None] * x0)


def unguarded(self, x, x0, z, t):
    return -x0 / fk.expand_time(self.schedule.beta(t), x0)


PATHS = {
    "starts_at_the_source": spoiled(PATH, sample=lambda self, x0, z, t, generator=None: z + (1 - t[:, None]) * x0),
    "start_scale_is_the_scale_of_the_source": wrong(PATH, sample=lambda x: 1.01 * x),
    "start_noise_is_what_sample_draws": spoiled(Trigonometric("constant"), start_noise=lambda self, t: 0.0),
    "ends_at_the_data": spoiled(PATH, sample=lambda self, x0, z, t, generator=None: x0 + t[:, None] * z),
    "the_data_arrive_unscaled": spoiled(
        PATH, sample=lambda self, x0, z, t, generator=None: ReferencePath.sample(self, x0, 0.95 * z, t)
    ),
    "velocity_is_the_time_derivative_of_the_flow": wrong(PATH, velocity=lambda u: 1.01 * u),
    "score_is_the_gradient_of_the_log_density": wrong(PATH, score=lambda score: -score),
    "score_averages_as_a_score_does": wrong(BRIDGE, score=lambda score: 1.1 * score),
    "score_says_whether_it_knows_both_ends": Bridge(),
    "conversions_turn_one_conditional_field_into_another": spoiled(PATH, convert=score_upside_down),
    "conversions_there_and_back_change_nothing": spoiled(PATH, convert=noise_off_by_one),
    "can_convert_says_what_convert_does": spoiled(PATH, can_convert=lambda self, given, wanted: given is wanted),
    "slope_is_how_errors_convert": wrong(PATH, slope=lambda slope: -slope),
    "conversions_take_one_time_or_many": spoiled(PATH, convert=one_time_halved),
    "pure_noise_leaves_the_mean_of_the_data": spoiled(GAUSSIAN, convert=without_data_mean),
    "rescheduled_fields_are_those_of_the_other_schedule": spoiled(
        GAUSSIAN, reschedule=lambda self, model, schedule: (model, GaussianPath(schedule))
    ),
    "is_finite_or_refused_at_the_ends": spoiled(PATH, score=unguarded),
    "does_not_depend_on_the_batch": wrong(PATH, velocity=lambda u: u - u.mean(0)),
    "takes_events_of_any_shape_and_type": wrong(PATH, velocity=lambda u: u.float()),
    "draws_from_the_generator_alone": spoiled(PATH, sample=global_noise),
    "writes_to_none_of_its_arguments": spoiled(PATH, sample=in_place),
}

# Couplings.


class AsDrawn(fk.Coupling):
    """Every pair as it was drawn, put wrong by `change(x0, z, y)`."""

    def __init__(self, change):
        self.change = change

    def pair(self, x0, z, y=None, generator=None):
        return self.change(x0, z, y)


def nearest(x0, z, y):
    return x0[torch.cdist(z.flatten(1), x0.flatten(1)).argmin(1)], z, y


def without_the_last(x0, z, y):
    index = torch.arange(len(z)).clamp(max=max(len(z) - 2, 0))
    return x0, z[index], fk.select_condition(y, index)


def both_sorted(x0, z, y):
    return x0[x0[:, 0].argsort()], z[z[:, 0].argsort()], y


COUPLINGS = {
    "returns_the_points_it_was_given": AsDrawn(lambda x0, z, y: (x0 - x0.mean(0), z, y)),
    "leaves_conditions_with_their_data": AsDrawn(lambda x0, z, y: (x0, z.flip(0), y)),
    "needs_no_conditions": AsDrawn(lambda x0, z, y: (x0, z, torch.zeros(len(z)) if y is None else y)),
    "keeps_the_marginal_of_x0": AsDrawn(nearest),
    "keeps_the_marginal_of_z": AsDrawn(without_the_last),
    "is_independent_if_it_says_so": spoiled(AsDrawn(both_sorted), independent=True),
    "repeats_with_its_seed": AsDrawn(lambda x0, z, y: (x0[torch.randperm(len(x0))], z, y)),
    "takes_events_of_any_shape_and_type": AsDrawn(lambda x0, z, y: (x0.flatten(1), z.flatten(1), y)),
    "takes_a_batch_of_one": AsDrawn(lambda x0, z, y: (x0, z, y) if len(z) > 1 else (z, x0, y)),
    "pairs_batches_together_as_each_by_itself": spoiled(
        AsDrawn(lambda x0, z, y: (x0, z, y)), together=True, pair_each=lambda self, batches: list(batches)[::-1]
    ),
    "writes_to_none_of_its_arguments": AsDrawn(lambda x0, z, y: (x0.mul_(2), z, y)),
}

# Heads.


class DenoisingHead(fk.Head):
    """The denoiser, put wrong by `change(raw)`."""

    quantities = (Quantity.DATA,)

    def __init__(self, change=lambda raw: raw):
        self.change = change

    def predict(self, network, x, t, y=None, path=None):
        return {Quantity.DATA: self.change(network(x, t, y))}


class Counting(DenoisingHead):
    calls = 0

    def predict(self, network, x, t, y=None, path=None):
        self.calls += 1
        return {Quantity.DATA: self.calls * network(x, t, y)}


HEADS = {
    "predicts_every_quantity_it_names": spoiled(DenoisingHead(), quantities=(Quantity.NOISE,)),
    "asks_the_network_once_with_the_condition": spoiled(
        DenoisingHead(), predict=lambda self, network, x, t, y=None, path=None: {Quantity.DATA: network(x, t)}
    ),
    "does_not_depend_on_the_batch": DenoisingHead(lambda raw: raw - raw.mean(0)),
    "gradients_reach_every_output": DenoisingHead(lambda raw: raw.detach()),
    "each_quantity_is_its_own_output": wrong(
        JointHead(), predict=lambda found: dict(zip(found, reversed(found.values()), strict=True))
    ),
    "keeps_the_type_of_x": DenoisingHead(lambda raw: raw.float()),
    "keeps_nothing_between_calls": Counting(),
}

# Losses.

LOSS = ConditionalFlowMatching()


def with_noise(loss):
    return loss + 1e-3 * torch.rand(len(loss), dtype=loss.dtype)


def without_condition(self, model, x0, z, y=None, generator=None):
    return ConditionalFlowMatching.__call__(self, model, x0, z, None, generator)


def target_with(change):
    return spoiled(LOSS, target=lambda self, path, x, x0, z, t, y: change(path.velocity(x, x0, z, t)))


LOSSES = {
    "gives_a_loss_for_each_sample": wrong(LOSS, __call__=lambda loss: loss.mean()),
    "gradients_reach_the_network": wrong(LOSS, __call__=lambda loss: loss.detach()),
    "vanishes_for_a_perfect_prediction": target_with(lambda velocity: -velocity),
    "is_minimal_at_the_exact_field": target_with(lambda velocity: 1.1 * velocity),
    "repeats_with_its_seed": wrong(LOSS, __call__=with_noise),
    "does_not_depend_on_the_batch": wrong(LOSS, __call__=lambda loss: loss / loss.mean()),
    "passes_the_condition_on": spoiled(LOSS, __call__=without_condition),
    "goes_on_from_its_state": spoiled(ConditionalFlowMatching(ImportanceTime()), restore=lambda self, state: None),
}

# Weightings.


class Weight(fk.Weighting):
    """lambda(t) = function(t)."""

    def __init__(self, function=torch.ones_like):
        self.function = function

    def weight(self, t, path):
        return self.function(t)


WEIGHTINGS = {
    "gives_a_weight_for_each_time": Weight(torch.mean),
    "is_nowhere_negative": Weight(lambda t: 0.99 - t),
    "is_finite_inside": Weight(lambda t: 1 / (t > 0.1).to(t.dtype)),
    "does_not_depend_on_the_batch": Weight(lambda t: t / t.mean()),
    "weighs_every_quantity_alike": spoiled(
        Weight(), of=Quantity.DATA, weight_on=lambda self, quantity, t, path: self.weight(t, path)
    ),
}

# Times.

TIME = UniformTime()


def global_times(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
    return UniformTime.sample(self, n, None, device, dtype, path)


def plain_times(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
    return torch.rand(n, generator=generator, dtype=dtype)


TIMES = {
    "gives_as_many_as_it_is_asked_for": wrong(TIME, sample=lambda t: t[:, None]),
    "has_the_type_it_is_asked_for": wrong(TIME, sample=lambda t: t.float()),
    "stays_inside": spoiled(TIME, sample=plain_times),
    "repeats_with_its_seed": spoiled(TIME, sample=global_times),
    "corrects_to_the_mean_over_uniform_times": wrong(ImportanceTime(), density=lambda p: p.sqrt()),
    "goes_on_from_its_state": spoiled(ImportanceTime(), restore=lambda self, state: None),
}

# Grids.


class Grid(fk.TimeGrid):
    """Equal steps, put wrong by `change(times)`."""

    def __init__(self, change):
        self.change = change

    def times(self, steps, path=None):
        return self.change(torch.linspace(0, 1, steps + 1, dtype=torch.float64))


class Shared(fk.TimeGrid):
    kept = None

    def times(self, steps, path=None):
        if self.kept is None or len(self.kept) != steps + 1:
            self.kept = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return self.kept


GRIDS = {
    "is_float64_on_the_cpu": Grid(lambda times: times.float()),
    "has_a_time_more_than_steps": Grid(lambda times: torch.linspace(0, 1, len(times) - 1, dtype=torch.float64)),
    "increases_strictly": Grid(lambda times: times**300),
    "stays_inside": Grid(lambda times: times - 1e-9),
    "is_the_same_every_time": Shared(),
}

# Diffusion coefficients.


class Coefficient(fk.DiffusionCoefficient):
    """sigma_t = function(t)."""

    def __init__(self, function):
        self.function = function

    def sigma(self, t, path):
        return self.function(t)


DIFFUSIONS = {
    "is_a_number": Coefficient(torch.tensor),
    "is_nowhere_negative": Coefficient(lambda t: 0.5 - t),
    "is_finite_before_the_end": Coefficient(lambda t: 1 / t if t else math.inf),
    "draws_nothing": Coefficient(lambda t: abs(float(torch.randn(())))),
}

# Integrators.

EULER, HEUN, MARUYAMA = Euler(), Heun(), EulerMaruyama()


def maruyama(noise):
    """Euler-Maruyama with `noise(sigma, h, x, generator)`."""

    def advance(self, dynamics, x, t, s, generator):
        return x + (s - t) * dynamics.drift(x, t) + noise(dynamics.diffusion(t), s - t, x, generator)

    return spoiled(MARUYAMA, advance=advance)


def late_midpoint(self, dynamics, x, t, s, generator=None):
    """The midpoint rule, with the drift in the middle taken at the time of the beginning."""
    middle = x + (s - t) / 2 * dynamics.drift(x, t)
    return x + (s - t) * dynamics.drift(middle, t)


def one_big_step(self, dynamics, x, times, generator=None):
    points = torch.as_tensor(times).tolist()
    yield x
    last = Euler().step(dynamics, x, points[0], points[-1])
    yield from [last] * (len(points) - 1)


def evened(self, dynamics, x, times, generator=None):
    points = torch.as_tensor(times)
    return Euler.trajectory(self, dynamics, x, torch.linspace(points[0], points[-1], len(points)), generator)


def sorted_times(self, dynamics, x, times, generator=None):
    return Euler.trajectory(self, dynamics, x, sorted(torch.as_tensor(times).tolist()), generator)


def without_the_first(self, dynamics, x, times, generator=None):
    states = Euler.trajectory(self, dynamics, x, times, generator)
    next(states)
    yield from states


def with_the_last_slope(self, dynamics, x, t, s, generator=None):
    slope = dynamics.drift(x, t)
    before, self.before = getattr(self, "before", None), slope
    both = slope if before is None or before.shape != slope.shape else (3 * slope - before) / 2
    return x + (s - t) * both


INTEGRATORS = {
    "converges_with_its_order": spoiled(EULER, order=2, step=late_midpoint),
    "its_formula_has_its_order": spoiled(Bosh3(), order=4),
    "meets_its_tolerance": spoiled(EULER, trajectory=one_big_step),
    "states_are_at_their_times": spoiled(EULER, trajectory=evened),
    "converges_with_its_strong_order": spoiled(MARUYAMA, order=1.5),
    "mean_and_variance_converge": maruyama(
        lambda sigma, h, x, generator: 1.03 * sigma * math.sqrt(h) * fk.randn_like(x, generator)
    ),
    "keeps_the_marginals": wrong(DDPMAncestral(), _coefficients=lambda step: step._replace(noise=1.02 * step.noise)),
    "goes_backwards_or_refuses": spoiled(EULER, trajectory=sorted_times),
    "a_trajectory_has_a_state_for_every_time": spoiled(EULER, trajectory=without_the_first),
    "one_step_is_a_grid": wrong(EULER, step=lambda x: x[0]),
    "says_whether_it_evaluates_the_end": spoiled(HEUN, evaluates_end=False),
    "asks_for_what_it_needs": spoiled(EULER, needs=(Quantity.DATA,)),
    "says_whether_it_draws": maruyama(lambda sigma, h, x, generator: 0),
    "repeats_with_its_seed": maruyama(lambda sigma, h, x, generator: sigma * math.sqrt(h) * torch.randn_like(x)),
    "every_element_has_noise_of_its_own": maruyama(
        lambda sigma, h, x, generator: sigma * math.sqrt(h) * fk.randn_like(x[:, :1], generator)
    ),
    "a_sample_does_not_depend_on_the_batch": Dopri5(rtol=1e-4, per_sample=False),
    "keeps_nothing_between_calls": spoiled(EULER, step=with_the_last_slope),
    "keeps_the_type_of_the_state": wrong(EULER, step=lambda x: x.float()),
    "gradients_go_through_the_steps": wrong(EULER, step=lambda x: x.detach()),
}

MUTANTS = {
    "schedule": SCHEDULES,
    "path": PATHS,
    "coupling": COUPLINGS,
    "head": HEADS,
    "loss": LOSSES,
    "weighting": WEIGHTINGS,
    "time": TIMES,
    "grid": GRIDS,
    "diffusion": DIFFUSIONS,
    "integrator": INTEGRATORS,
}
"""Kind to check to component."""

# Slips that packages of the field have made, each seen by some check.


class Straight(fk.Path):
    """x_t = t z + (1 - t) x0, its velocity from the state."""

    def sample(self, x0, z, t, generator=None):
        return torch.lerp(x0, z, t.reshape(-1, *(1,) * (z.ndim - 1)))

    def velocity(self, x, x0, z, t):
        return (z - x) / (1 - t).reshape(-1, *(1,) * (z.ndim - 1))


def late_heun(self, dynamics, x, t, s, generator=None):
    first = dynamics.drift(x, s)
    return x + (s - t) / 2 * (first + dynamics.drift(x + (s - t) * first, s))


def from_the_second_time(self, dynamics, x, times, generator=None):
    yield x
    yield from Euler.trajectory(self, dynamics, x, torch.as_tensor(times)[1:], generator)


def resampled(x0, z, y):
    index = torch.as_tensor(np.random.choice(len(z), len(z)))
    return x0[index], z, y


SLIPS = {
    "a schedule that runs from data to noise": (
        "schedule",
        spoiled(SCHEDULE, alpha=ReferenceSchedule.beta, beta=ReferenceSchedule.alpha),
    ),
    "a derivative without the inner one": ("schedule", wrong(SCHEDULE, alpha_dot=lambda slope: slope / (math.pi / 2))),
    "a score over the variance in place of the deviation": (
        "path",
        spoiled(PATH, score=lambda self, x, x0, z, t: -x0 / fk.expand_time(self.schedule.beta(t), x0) ** 2),
    ),
    "a velocity that is 0 / 0 at the data": ("path", Straight()),
    "pairs drawn with replacement by numpy": ("coupling", AsDrawn(resampled)),
    "a target of the other direction": (
        "loss",
        spoiled(LOSS, target=lambda self, path, x, x0, z, t, y: path.velocity(x, z, x0, t)),
    ),
    "a target at another time": (
        "loss",
        spoiled(LOSS, target=lambda self, path, x, x0, z, t, y: path.velocity(x, x0, z, t.flip(0))),
    ),
    "a first slope at the end of the step": ("integrator", spoiled(HEUN, step=late_heun)),
    "an error estimate that nobody looks at": ("integrator", wrong(Bosh3(), _error=lambda error: 0 * error)),
    "a grid without its first time": ("integrator", spoiled(EULER, trajectory=from_the_second_time)),
    "noise that grows with the step, not with its root": (
        "integrator",
        maruyama(lambda sigma, h, x, generator: sigma * h * fk.randn_like(x, generator)),
    ),
    "a variance in place of a deviation": (
        "integrator",
        maruyama(lambda sigma, h, x, generator: sigma**2 * math.sqrt(h) * fk.randn_like(x, generator)),
    ),
}
"""What it is to its kind and component."""
