"""The traps of the field: what went wrong in implementations of flows and diffusion, and the tests that would see it.

`TRAPS` maps each of them to tests, as `file::test`; those that had no test of their own are held here.
"""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Shifted
from flowkit_guidance import CFGZeroStar, ClassifierFreeGuidance
from flowkit_heads.edm import EDMHead
from flowkit_interpolants.paths import BrownianBridge
from flowkit_losses.prediction import EDMLoss
from flowkit_ode.grids import ShiftedGrid, UniformGrid
from oracles import SCHEDULES, mixture, seeded
from schedules import PATH
from torch import nn
from torch.optim.adamw import adamw

import flowkit as fk
from flowkit import Dynamics, Model, Predictor, TimeSampler
from flowkit.plugins import installed_plugins
from flowkit.training.checkpoint import latest_checkpoint

HERE = "test_traps.py"
TRAPS = {
    # Ends of the path.
    "velocity or noise of a VP schedule is NaN at t = 1": (
        "plugins/test_gaussian.py::test_at_every_time_both_ends_included_a_conversion_is_exact_or_refused",
        "plugins/test_gaussian.py::test_a_conditional_field_is_never_infinite_without_a_word",
    ),
    "a change of schedule divides alpha by beta = 0": (
        "plugins/test_rescheduled.py::test_at_both_ends_too",
        "plugins/test_rescheduled.py::test_it_is_finite_at_every_time_or_refused",
    ),
    "the score from a velocity is NaN at t = 1, the SBDM coefficient infinite at t = 0": (
        "test_nowhere_nan.py::test_conversions",
        "test_nowhere_nan.py::test_diffusion_coefficients",
    ),
    "the SBDM coefficient rounds to below 0 at t = 1, and its root is NaN": (
        "plugins/test_sde_coefficients.py::test_sbdm_stops_at_its_maximum_and_never_is_negative_or_nan",
        "plugins/test_sde_coefficients.py::test_sbdm_is_0_at_the_data",
    ),
    "of two ends, the one that is given alone is lost": (f"{HERE}::test_an_end_that_is_given_alone_is_kept",),
    "an epsilon in the derivative of a schedule; score targets at beta = 0": (
        "plugins/test_schedules.py::test_the_derivatives_are_those_of_autograd",
        "plugins/test_times.py::test_the_smallest_and_the_largest_draw_leave_out_the_ends",
        "test_nowhere_nan.py::test_times_are_inside",
    ),
    "(z - x) / (1 - t) cancels next to the data": (f"{HERE}::test_velocity_targets_do_not_cancel_next_to_the_ends",),
    "an epsilon in the targets of a bridge": (f"{HERE}::test_targets_of_a_bridge_are_exact_next_to_its_ends",),
    "gamma' is infinite at the ends of an interpolant, and noise is divided by gamma = 0": (
        "plugins/test_interpolants.py::test_at_the_ends_a_field_is_the_limit_or_refused",
        "plugins/test_interpolants.py::test_a_conversion_at_an_end_is_the_limit_or_refused",
    ),
    "samples keep the noise of a smallest sigma that nobody asked for": (
        "plugins/test_gaussian.py::test_the_path_starts_and_ends_where_its_schedule_says",
        "plugins/test_exponential.py::test_the_last_step_to_the_data_is_the_last_data_prediction",
    ),
    "a weight of 1e6 cancels the scale of the network in exact arithmetic only": (
        f"{HERE}::test_the_weight_of_edm_cancels_the_scale_of_its_head_in_float32",
    ),
    "weights are clipped": ("plugins/test_weightings.py::test_weightings_are_their_closed_forms",),
    "a time shift divides by 0": (
        "plugins/test_grids.py::test_a_grid_has_its_ends_exactly_and_grows",
        "test_nowhere_nan.py::test_a_schedule_is_finite_but_for_slopes_at_the_ends",
    ),
    "next to the data a shifted time rounds to 1": (
        "test_nowhere_nan.py::test_a_schedule_is_finite_but_for_slopes_at_the_ends",
    ),
    # Solvers.
    "the first slope of Heun is taken at the end of the step": (
        "plugins/test_ode.py::test_a_step_evaluates_as_often_and_where_it_says",
        "plugins/test_sde_ends.py::test_a_step_evaluates_as_often_and_where_it_says",
    ),
    "the noise of an SDE is multiplied by noise": (
        "plugins/test_sde.py::test_the_variance_follows_the_recursion_of_the_method",
        "plugins/test_sde_laws.py::test_with_any_noise_the_law_is_that_of_the_path",
    ),
    "sign or size of the score in the drift of an SDE: sigma^2 for sigma^2/2, w for 2w": (
        "plugins/test_sde_laws.py::test_with_any_noise_the_law_is_that_of_the_path",
        "plugins/test_sde_laws.py::test_the_comparison_sees_every_slip_in_the_drift",
        "plugins/test_sde_coefficients.py::test_the_square_of_the_coefficient_is_the_form_of_sit",
    ),
    "the times t and s of a multistep formula are mistaken for each other": (
        "plugins/test_exponential.py::test_adams_bashforth_solves_polynomials_in_lambda_below_its_order_exactly",
        "plugins/test_exponential.py::test_the_error_falls_with_the_order_of_the_method",
    ),
    "Hutchinson's noise changes from one evaluation to the next": (
        "test_divergence.py::test_noise_is_drawn_once_for_a_whole_solve",
    ),
    "n steps are n - 1, and the last one is longer": (
        "test_sampling.py::test_the_steps_are_equal_ones_from_0_to_1_unless_times_are_given",
        "plugins/test_ode.py::test_the_last_step_is_as_long_as_the_others",
    ),
    "a name that is listed cannot be built": (
        "config/test_config.py::test_every_standard_component_reads_back_from_its_attributes",
    ),
    "a grid starts at 0 whatever its first time is; backwards runs forwards": (
        f"{HERE}::test_time_goes_from_the_first_time_to_the_last_in_either_direction",
    ),
    "with one step size for a batch, a sample depends on the others": (
        "plugins/test_ode_adaptive.py::test_a_sample_does_not_depend_on_its_batch_mates",
    ),
    "a tolerance below what the type resolves stalls": (
        "plugins/test_ode_adaptive.py::test_a_tolerance_finer_than_the_states_resolve_is_refused",
        "plugins/test_ode_adaptive.py::test_a_solution_that_does_not_exist_ends_in_an_error_not_in_a_loop",
    ),
    "sampling takes one step, silently": (f"{HERE}::test_sampling_takes_many_steps_unless_told_otherwise",),
    "a time for each sample steps in the opposite direction": (
        "plugins/test_ode_adaptive.py::test_the_error_is_as_small_as_was_asked",
    ),
    "log alpha at alpha = 0 in DPM-Solver++": (
        "plugins/test_exponential.py::test_everything_is_finite_from_0_to_1_and_keeps_its_type",
        "plugins/test_exponential.py::test_one_step_from_noise_to_data_is_the_data_prediction",
    ),
    "a score that is singular at the ends makes the SDE so": (
        "plugins/test_sde_ends.py::test_samples_are_finite_from_0_to_1_in_low_precision",
        "test_nowhere_nan.py::test_integrators",
    ),
    # Shapes, types, randomness.
    "the exact divergence fails on images; log densities are float32": (
        "test_likelihood.py::test_the_log_density_of_images",
        "test_divergence.py::test_estimates_keep_the_type_and_leave_no_graph",
    ),
    "a density has no gradients": (
        "test_divergence.py::test_the_gradient_of_the_log_density_is_the_score",
        "test_divergence.py::test_the_gradient_in_a_weight_is_a_difference_quotient",
    ),
    "networks see times of several shapes": (
        "test_model.py::test_the_network_sees_one_time_a_sample_in_the_type_of_the_state_and_float32_at_least",
    ),
    "0 / 0 inside torch.where: the value is right and its gradient is NaN": (
        f"{HERE}::test_a_division_that_is_not_used_does_not_spoil_the_gradient",
        "plugins/test_gaussian.py::test_the_gradient_through_a_limit_is_finite",
    ),
    "times are looked up by equality, which low precision breaks": (
        "test_model.py::test_the_time_is_not_rounded_to_the_type_of_the_state_before_converting",
        "plugins/test_exponential.py::test_low_precision_gives_what_double_precision_gives",
    ),
    "a shift is applied twice": (f"{HERE}::test_a_shift_of_the_grid_and_one_of_the_schedule_are_the_same_once",),
    "states become float64 on the way": (
        "../flowkit/testing/integrator.py::keeps_the_type_of_the_state",
        "test_nowhere_nan.py::test_integrators",
    ),
    "guidance leaves channels out": ("plugins/test_guidance.py::test_every_channel_is_guided",),
    "times are drawn without a generator": (
        "../flowkit/testing/time.py::repeats_with_its_seed",
        "../flowkit/testing/loss.py::repeats_with_its_seed",
    ),
    # Couplings.
    "pairs of an optimal plan are drawn with replacement, from numpy's global state": (
        "plugins/test_couplings.py::test_every_point_is_used_exactly_once",
        "plugins/test_couplings.py::test_the_generator_decides_everything_and_global_states_are_untouched",
    ),
    "images come back flattened": (
        "plugins/test_couplings.py::test_pairs_are_those_of_the_pairing_and_keep_shape_type_and_condition",
    ),
    "Sinkhorn underflows to the uniform plan": (
        "plugins/test_couplings.py::test_sinkhorn_with_tiny_regularization_in_many_dimensions_is_ot",
        "plugins/test_couplings.py::test_an_unconverged_plan_says_so",
    ),
    "distances lose their digits in float32": (
        "plugins/test_couplings.py::test_distances_keep_their_digits_far_from_the_origin",
    ),
    "optimal pairs make the noise depend on the condition": (
        "plugins/test_couplings.py::test_conditional_ot_keeps_x0_independent_of_the_condition_and_plain_ot_does_not",
    ),
    # Training.
    "a resumed run lacks optimizer, averages, random states or its place in the data": (
        "training/test_trainer.py::test_an_interrupted_run_resumes_to_the_bit",
    ),
    "a decay of 0 keeps the first weights": (
        "training/test_trainer.py::test_the_average_forgets_its_start_and_decay_zero_copies",
    ),
    "averaged weights are trained and never used": (f"{HERE}::test_a_loaded_run_has_the_averaged_weights",),
    "labels are dropped for a whole batch": (f"{HERE}::test_conditions_are_dropped_for_each_sample_alone",),
    "gradients are not clipped": (f"{HERE}::test_gradients_are_clipped_at_every_step",),
    "a checkpoint is a pickle": ("training/test_trainer.py::test_nothing_in_a_run_folder_is_a_pickle",),
    "gradients that are no numbers become 0 and hide a divergence": (
        "training/test_trainer.py::test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_good_checkpoint",
    ),
    "a setting of a path is overwritten or undefined": (
        "plugins/test_interpolants.py::test_the_coefficients_are_those_of_the_paper",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_the_tests_that_are_named_exist(trap):
    for name in TRAPS[trap]:
        file, function = name.split("::")
        text = (Path(__file__).parent / file).read_text()
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), name


# Those that had no test.


def registered(kind: str, *leave_out: str) -> list[str]:
    return [
        entry.component.name
        for entry in installed_plugins().registry.of_kind(kind)
        if entry.component.name not in leave_out
    ]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", registered("grid", "explicit"))
def test_an_end_that_is_given_alone_is_kept(name):
    """Where two settings have one default, a test of the wrong one for None loses the other."""
    path = PATH["condot"]
    late = fk.create("grid", name, start=0.1).times(5, path)
    early = fk.create("grid", name, end=0.8).times(5, path)
    assert (late[0], late[-1]) == (0.1, 1.0)
    assert (early[0], early[-1]) == (0.0, 0.8)
    drawn = (fk.create("time", "uniform", **end).sample(1000, seeded()) for end in ({"low": 0.6}, {"high": 0.4}))
    assert next(drawn).min() >= 0.6
    assert next(drawn).max() <= 0.4


@pytest.mark.parametrize("name", PATH)
def test_velocity_targets_do_not_cancel_next_to_the_ends(name):
    """z - x0 computed as (z - x) / (1 - t) has no digit left at 1 - t = 2^-23 in float32. Each of the two terms is a
    product of rounded numbers, of which the slope of a schedule may be a power, off by 7 roundings and more.
    """
    path, gap = PATH[name], torch.finfo(torch.float32).eps
    t = torch.tensor([gap, 1e-3, 1 - 1e-3, 1 - gap])
    x0, z = normal(4, 2).float(), normal(4, 2, seed=1).float()
    found = path.velocity(path.sample(x0, z, t), x0, z, t)
    of_data, of_noise = (
        function(t.double())[:, None] for function in (path.schedule.alpha_dot, path.schedule.beta_dot)
    )
    terms = of_data * z.double(), of_noise * x0.double()
    assert ((found - sum(terms)).abs() <= 30 * gap * sum(term.abs() for term in terms)).all()


def test_targets_of_a_bridge_are_exact_next_to_its_ends():
    """Its velocity is that of the flow with the noise held fixed, gamma' eps + z - x0, whatever is small: an epsilon of
    1e-8 under the root would be seen at t = 1e-7. Rounding of x is magnified by gamma' / gamma = 1 / 2t at most.
    """
    path = BrownianBridge(1.0)
    t = torch.tensor([1e-12, 1e-7, 1e-3, 1 - 1e-3, 1 - 1e-7, 1 - 1e-12], dtype=torch.float64)
    x0, z = normal(6, 2), normal(6, 2, seed=1)
    noise = torch.randn(6, 2, generator=seeded(2), dtype=torch.float64)
    gamma = torch.sqrt(t * (1 - t))[:, None]
    found = path.velocity(path.sample(x0, z, t, seeded(2)), x0, z, t)
    exact = z - x0 + (1 - 2 * t)[:, None] / (2 * gamma) * noise
    rounding = 4 * torch.finfo(torch.float64).eps * (1 + x0.abs() + z.abs()) / torch.minimum(t, 1 - t)[:, None]
    assert ((found - exact).abs() <= rounding).all()
    score = path.score(path.sample(x0, z, t, seeded(2)), x0, z, t)
    assert ((score + noise / gamma).abs() <= rounding).all()


class At(TimeSampler):
    """The times it is given."""

    def __init__(self, t):
        self.t = t

    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        return self.t.to(dtype)


def test_the_weight_of_edm_cancels_the_scale_of_its_head_in_float32():
    """At noise of 5 standard deviations less than usual, sigma = e^-7.2, the weight is 1.8e6 and |D - z|^2 as small. D
    and z are rounded to eps of their size, which is eps |z| / sigma of their difference, whose size is c_out = sigma.
    """
    sigma, data = math.exp(-7.2), 0.5
    alpha = 1 / (1 + sigma)
    beta = sigma * alpha
    x0, z = normal(200, 2), normal(200, 2, seed=1)

    class Network(nn.Module):
        def forward(self, x, t, y=None):
            return torch.cos(x)

    model = Model(Network(), EDMHead(data), PATH["condot"])
    found = EDMLoss(At(torch.full((200,), alpha)))(model, x0.float(), z.float()).double()
    x, variance = alpha * z + beta * x0, (alpha * data) ** 2 + beta**2
    wanted = (z - alpha * data**2 / variance * x) * math.sqrt(variance) / (beta * data)
    expected = (torch.cos(x / math.sqrt(variance)) - wanted).square().mean(1)
    rounding = torch.finfo(torch.float32).eps * float(z.abs().max()) / sigma
    assert ((found - expected).abs() <= 20 * rounding * (1 + expected)).all()


class Clock(Dynamics):
    """dx/dt = 1."""

    def drift(self, x, t):
        return torch.ones_like(x)


@pytest.mark.parametrize("grid", [[0.5, 1.0], [0.5, 0.7, 1.0], [1.0, 0.4, 0.0], [0.9, 0.2]], ids=str)
def test_time_goes_from_the_first_time_to_the_last_in_either_direction(grid):
    """A grid that leaves out its first time, or sorts the others, ends somewhere else."""
    for name in registered("integrator"):
        integrator = fk.create("integrator", name)
        if integrator.stochastic or integrator.needs != (fk.Quantity.VELOCITY,):
            continue
        states = list(integrator.trajectory(Clock(), torch.zeros(1, 1, dtype=torch.float64), grid))
        for t, state in zip(grid, states, strict=True):
            assert state.item() == pytest.approx(t - grid[0], abs=1e-12), name


@pytest.mark.parametrize("grid", [[0.5, 1.0], [0.2, 0.6, 0.9]], ids=str)
def test_samplers_of_gaussian_paths_start_at_the_first_time(grid):
    """With the exact D of one point z, the path through x goes to alpha_s z + beta_s N for every one of them."""
    path, z = PATH["cosine"], torch.tensor([0.7, -0.3], dtype=torch.float64)

    class Point(Predictor):
        def can_predict(self, wanted):
            return True

        def predict(self, x, t, y, wanted):
            return tuple(path.convert(z.expand_as(x), x, t, fk.Quantity.DATA, quantity) for quantity in wanted)

    x = normal(5, 2)
    alpha, beta = (function(torch.tensor(grid, dtype=torch.float64)) for function in SCHEDULES["cosine"])
    expected = alpha[-1] * z + (beta[-1] / beta[0]).sqrt() * (x - alpha[0] * z)
    for name in registered("integrator"):
        integrator = fk.create("integrator", name)
        if integrator.stochastic or integrator.needs == (fk.Quantity.VELOCITY,):
            continue
        found = integrator.integrate(fk.ODE(Point(), path=path), x, grid)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_sampling_takes_many_steps_unless_told_otherwise():
    asked = []

    class Asked(type(mixture())):
        def predict(self, x, t, y, wanted):
            asked.append(float(t))
            return super().predict(x, t, y, wanted)

    oracle = Asked([[0.0, 0.0]], [1.0], [1.0])
    fk.sample(oracle, normal(3, 2), integrator=fk.create("integrator", "euler"), path=PATH["condot"])
    assert len(asked) >= 20
    assert max(t - s for s, t in pairwise(asked)) < 0.1


class OneNumber(Predictor):
    """Fields of a single number, or of none at all: no contrast, no length."""

    def __init__(self, field):
        self.field, self.path = field, GaussianPath(CondOT())

    def can_predict(self, wanted):
        return True

    def predict(self, x, t, y, wanted):
        return tuple(self.field(x, (y[:, None] >= 0).to(x)) for _ in wanted)


@pytest.mark.parametrize(
    ("guidance", "field"),
    [
        (ClassifierFreeGuidance(3.0, rescale=0.7), lambda x, known: (1 + known) * x),
        (ClassifierFreeGuidance(3.0, rescale=0.7), lambda x, known: (1 - known) * torch.cat([x, -x], 1) + known),
        (CFGZeroStar(3.0), lambda x, known: known * x),
    ],
    ids=["one number", "flat with the condition", "still without a condition"],
)
def test_a_division_that_is_not_used_does_not_spoil_the_gradient(guidance, field):
    """The gradient of torch.where is 0 times that of what was not chosen, and 0 times infinity is NaN."""
    x = normal(4, 1).requires_grad_()
    velocity = guidance.guide(OneNumber(field)).velocity(x, 0.4, torch.zeros(4, dtype=torch.long))
    velocity.sum().backward()
    assert velocity.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("shift", [0.3, 3.0])
def test_a_shift_of_the_grid_and_one_of_the_schedule_are_the_same_once(shift):
    """Equal steps on the shifted schedule have the noise levels of the shifted grid on the plain one, and no others."""
    shifted, plain = Shifted(CondOT(), shift), CondOT()
    once = shifted.log_snr(UniformGrid().times(10))
    torch.testing.assert_close(once, plain.log_snr(ShiftedGrid(shift).times(10)), rtol=1e-12, atol=1e-12)
    inner = UniformGrid().times(10)[1:-1]
    torch.testing.assert_close(
        shifted.log_snr(inner), plain.log_snr(inner) - 2 * math.log(shift), rtol=1e-12, atol=1e-12
    )


def test_a_loaded_run_has_the_averaged_weights(tiny, tmp_path):
    tiny.training(ema_decay=0.9).build().fit(tmp_path / "run")
    checkpoint = latest_checkpoint(tmp_path / "run")
    averaged, trained = checkpoint.tensors("ema"), checkpoint.tensors("model")
    loaded = dict(fk.Pipeline.load(tmp_path / "run", device="cpu").model.named_parameters())
    assert loaded
    for name, parameter in loaded.items():
        assert torch.equal(parameter, averaged[name])
    assert any(not torch.equal(averaged[name], trained[name]) for name in loaded)


def test_conditions_are_dropped_for_each_sample_alone(tmp_path):
    """Each with the chance that was set: in every batch some are, and some are not."""
    seen = []

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x, t, y=None):
            seen.append(y.clone())
            return self.layer(x)

    builder = fk.Pipeline.builder().data("moons", labels=True).network(Network())
    builder.training(steps=20, batch_size=200, condition_dropout=0.3).build().fit(tmp_path / "run")
    batches = torch.stack([y for y in seen if len(y) == 200])
    shares = (batches == -1).double().mean(1)
    assert len(shares) >= 20
    assert ((shares > 0.1) & (shares < 0.5)).all()  # 6 standard errors of sqrt(0.21 / 200)


def test_gradients_are_clipped_at_every_step(tiny, tmp_path, monkeypatch):
    norms = []

    def adam(parameters, gradients, *state, grad_scale, **settings):
        norms.append(nn.utils.get_total_norm(gradients) / grad_scale)
        adamw(parameters, gradients, *state, grad_scale=grad_scale, **settings)

    monkeypatch.setattr("flowkit.training.update.adamw", adam)
    tiny.training(gradient_clip=1e-3).build().fit(tmp_path / "run")
    assert len(norms) == 20
    assert all(norm <= 1e-3 * (1 + 1e-4) for norm in norms)
