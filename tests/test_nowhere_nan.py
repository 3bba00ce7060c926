"""No NaN and no infinity anywhere on [0, 1], of anything that is registered: a finite result, or a refusal in words.

Components are those of the registry, so that a new one is held to this without a line here. A time that a function
refuses must be an end, 0 or 1; what does not go together must say so in `problems`.
"""

import contextlib
import copy
import functools
import itertools
import math
from typing import get_args

import pytest
import torch
from flowkit_interpolants.gamma import GammaName
from oracles import mixture, seeded
from torch import nn

import flowkit as fk
from flowkit import FlowkitError, Model, Path, Quantity, Sampler, TimeSampler, UnsupportedError
from flowkit.plugins import installed_plugins

TINY = (2.0**-24, 1e-6)
INSIDE = (0.001, 0.03, 0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.97, 0.999)
TIMES = (0.0, *TINY, *INSIDE, *(1 - tiny for tiny in TINY), 1.0)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def names(kind: str) -> list[str]:
    return [entry.component.name for entry in installed_plugins().registry.of_kind(kind)]


def with_settings(kind: str, **settings: dict) -> dict:
    """Every component of a kind, as it comes or with the settings given for it."""
    return {name: fk.create(kind, name, **settings.get(name, {})) for name in names(kind)}


SCHEDULES = with_settings("schedule")
SCHEDULES |= {f"shifted {name}": fk.create("schedule", "shifted", schedule=name, shift=0.3) for name in SCHEDULES}
PATHS = {
    f"gaussian, {name}": fk.create("path", "gaussian", schedule=schedule)
    for name, schedule in SCHEDULES.items()
    if not name.startswith("shifted ") or name in ("shifted vp", "shifted polynomial")
}
PATHS |= {name: path for name, path in with_settings("path").items() if name != "gaussian"}
PATHS |= {
    f"{name}, {gamma}": fk.create("path", name, gamma=gamma)
    for name, gamma in itertools.product(("linear", "trigonometric", "encoding_decoding"), get_args(GammaName))
    if (name, gamma) != ("encoding_decoding", "none")  # refused by its constructor
}
GAUSSIAN = {name: path for name, path in PATHS.items() if name.startswith("gaussian")}
WEIGHTINGS, HEADS, TIME = with_settings("weighting"), with_settings("head"), with_settings("time")
DIFFUSIONS = with_settings("diffusion")
GRIDS = with_settings("grid", explicit={"values": [0.0, 1e-6, 0.5, 1.0]})
LOSSES = with_settings("loss", fm={"exact": mixture()}, sm={"exact": mixture()})
LOOSE = {"rtol": 0.3, "atol": 0.3, "per_sample": False, "max_steps": 10}
INTEGRATORS = with_settings("integrator", bosh3=LOOSE, dopri5=LOOSE)

every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def times(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(TIMES, dtype=torch.float64).to(dtype)


def states(n: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64).to(dtype)


def assert_finite(value: torch.Tensor, what: str) -> None:
    assert value.isfinite().all(), what


def assert_finite_or_refused(call, what: str) -> None:
    try:
        value = call()
    except UnsupportedError:  # what may be refused is in the tests of each plugin
        return
    assert_finite(value, what)


def assert_finite_inside(function, t: torch.Tensor, what: str) -> None:
    """`function` takes indices into t: finite inside, and at either end finite or refused."""
    inner = (t > 0) & (t < 1)
    assert_finite(function(inner.nonzero().flatten()), what)
    for i in (~inner).nonzero().flatten():
        assert_finite_or_refused(lambda: function(i[None]), f"{what} at {t[i]}")  # noqa: B023 (called at once)


def assert_reasons(problems: list[str]) -> None:
    assert all(len(problem) > 20 for problem in problems)


class Linear(nn.Module):
    """Finite outputs of the size of the state, in its type, that no head knows to be wrong."""

    def __init__(self, outputs: int = 1, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2 * outputs, dtype=dtype)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=seeded(), dtype=torch.float64).to(dtype)

    def forward(self, x, t, y=None):
        return self.layer(torch.cat([x, t[:, None].to(x.dtype)], dim=1))


class At(TimeSampler):
    """The times it is given."""

    def __init__(self, t: torch.Tensor) -> None:
        self.t = t

    def sample(self, n, generator=None, device="cpu", dtype=torch.float32, path=None):
        return self.t


# Schedules and paths.


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@every_dtype
def test_a_schedule_is_finite_but_for_slopes_at_the_ends(schedule, dtype):
    """A slope may be infinite at an end, and so may the log of the signal-to-noise ratio, but nothing is a NaN."""
    t = times(dtype)
    inner = (t > 0) & (t < 1)
    for function in (schedule.alpha, schedule.beta):
        assert_finite(function(t), function.__name__)
        assert (function(t) >= 0).all()
    for function in (schedule.alpha_dot, schedule.beta_dot, schedule.log_snr):
        assert not function(t).isnan().any(), function.__name__
        assert_finite(function(t[inner]), function.__name__)
    back = schedule.time_of_log_snr(schedule.log_snr(t))
    assert ((back >= 0) & (back <= 1)).all()


@every_path
@every_dtype
def test_states_and_conditional_fields(path, dtype):
    t = times(dtype)
    x0, z = states(len(t), dtype), states(len(t), dtype, seed=1)
    x = path.sample(x0, z, t, seeded(2))
    assert_finite(x, "x_t")
    assert x.dtype == dtype
    for field in (path.velocity, *((path.score,) if path.has_score else ())):
        assert_finite_inside(lambda i, field=field: field(x[i], x0[i], z[i], t[i]), t, field.__name__)


@every_path
@every_dtype
def test_conversions(path, dtype):
    """With a time for each sample, with one time for all, and how errors convert."""
    t = times(dtype)
    value, x = states(len(t), dtype), states(len(t), dtype, seed=1)
    pairs = [pair for pair in itertools.product(Quantity, Quantity) if path.can_convert(*pair)]
    assert len(pairs) >= len(Quantity)
    for given, wanted in pairs:
        what = f"{given.value} to {wanted.value}"
        convert = functools.partial(path.convert, given=given, wanted=wanted, data_mean=0.3)
        assert_finite_inside(lambda i, convert=convert: convert(value[i], x[i], t[i]), t, what)
        assert_finite_inside(lambda i, pair=(given, wanted): path.slope(t[i], *pair), t, f"slope of {what}")
        for end in (0.0, 1.0):
            assert_finite_or_refused(
                lambda convert=convert, end=end: convert(value, x, end), f"{what} at {end} for all"
            )


@pytest.mark.parametrize("name", [name for name in names("field") if name != "run"])  # `run` is a trained model
@pytest.mark.parametrize("path", GAUSSIAN.values(), ids=GAUSSIAN)
def test_exact_fields(name, path):
    settings = {
        "finite_data": {"data": "moons", "draws": 20},
        "gaussian_mixture": {"means": [[-2.0, 0.0], [2.0, 0.0]], "covariances": [1.0, 0.5]},
    }
    field = fk.create("field", name, path=path, **settings[name])
    for dtype, quantity in itertools.product(DTYPES, Quantity):
        t = times(dtype)
        x = states(len(t), dtype)
        assert_finite_inside(
            lambda i, x=x, t=t, q=quantity: field.predict(x[i], t[i], None, (q,))[0], t, f"{quantity.value} in {dtype}"
        )


# Training.


@every_path
@every_dtype
def test_weights(path, dtype):
    t = times(dtype)
    for name, weighting in WEIGHTINGS.items():
        if problems := weighting.problems(path):
            assert_reasons(problems)
            continue
        for quantity in Quantity:
            if weighting.of is None or path.can_convert(quantity, weighting.of):
                what = f"{name} on the {quantity.value}"
                assert_finite_inside(lambda i, w=weighting, q=quantity: w.weight_on(q, t[i], path), t, what)


@pytest.mark.parametrize("draw", [None, 0.0, 1 - 2.0**-24], ids=["random", "least", "greatest"])
@every_path
def test_times_are_inside(path, draw, monkeypatch):
    """Also for the least and the greatest number that torch draws, and 20 standard deviations of a normal one."""
    if draw is not None:
        monkeypatch.setattr(torch, "rand", lambda *shape, dtype, **_: torch.full(shape, draw).to(dtype))
        monkeypatch.setattr(torch, "randn", lambda *shape, dtype, **_: torch.full(shape, 40 * (draw - 0.5)).to(dtype))
    for (name, time), dtype in itertools.product(TIME.items(), DTYPES):
        if problems := time.problems(path):
            assert_reasons(problems)
            continue
        t = time.sample(20, None, dtype=dtype, path=path)
        assert t.dtype == dtype, name
        assert ((t > 0) & (t < 1)).all(), f"{name} in {dtype}"


@every_path
def test_losses_and_their_gradients(path):
    """At the last times that are drawn, in float32."""
    eps = torch.finfo(torch.float32).eps
    t = torch.tensor([eps, 1e-3, 0.5, 1 - 1e-3, 1 - eps])
    x0, z = states(len(t), torch.float32), states(len(t), torch.float32, seed=1)
    for (name, loss), head in itertools.product(LOSSES.items(), HEADS.values()):
        network, at_ends = Linear(head.outputs), copy.copy(loss)
        at_ends.time = At(t)
        model = Model(network, head, path)
        if problems := at_ends.problems(model) + head.problems(path):
            assert_reasons(problems)
            continue
        found = at_ends(model, x0, z, generator=seeded())
        found.sum().backward()
        assert_finite(found, name)
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters()), name


# Sampling.


@every_path
def test_diffusion_coefficients(path):
    for name, diffusion in DIFFUSIONS.items():
        if problems := diffusion.problems(path):
            assert_reasons(problems)
            continue
        for t in TIMES:
            with contextlib.suppress(*([UnsupportedError] if t == 1 else [])):
                assert 0 <= diffusion.sigma(t, path) < math.inf, f"{name} at {t}"


@every_path
def test_grids(path):
    for name, grid in GRIDS.items():
        if problems := grid.problems(path):
            assert_reasons(problems)
            continue
        for steps in (1, 2, 3, 50):
            found = grid.times(steps, path)
            assert ((found >= 0) & (found <= 1)).all(), name
            assert (found.diff() > 0).all(), name


def refusals(sampler: Sampler, model: Model, path: Path, dtype: torch.dtype) -> list[str]:
    """Sample if nothing speaks against it, and return what does."""
    if problems := model.head.problems(path) + sampler.problems(model, path):
        return problems
    try:
        with torch.no_grad():
            found = sampler.sample(model, path, states(3, dtype), generator=seeded())
    except FlowkitError as error:  # of an integrator that chooses its steps: the drift has a singularity at an end
        assert sampler.integrator in (INTEGRATORS["bosh3"], INTEGRATORS["dopri5"])
        return [str(error)]
    assert_finite(found, f"{type(sampler.integrator).__name__}, {type(sampler.diffusion).__name__}")
    assert found.dtype == dtype
    return []


@every_path
def test_integrators(path):
    """From 0 to 1 in one step, or with steps of hardly any length beside both ends; noises, types and grids go round.

    What is refused at an end is not refused inside, unless head and path do not give what the integrator needs.
    """
    for integrator in INTEGRATORS.values():
        diffusions = DIFFUSIONS.values() if integrator.solves_sde() else [None]
        grids = [0.0, TINY[0], 0.4, 1 - TINY[0], 1.0], [0.0, 1.0]
        for head, *turn in zip(HEADS.values(), *map(itertools.cycle, (diffusions, DTYPES, grids)), strict=False):
            diffusion, dtype, grid = turn
            model = Model(Linear(head.outputs, dtype), head, path)
            if refusals(Sampler(integrator, grid, diffusion=diffusion), model, path, dtype):
                left = refusals(Sampler(integrator, [0.1, 0.5, 0.9], diffusion=diffusion), model, path, dtype)
                assert all("need" in reason or "Loosen" in reason for reason in left), left
