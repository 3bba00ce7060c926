"""What every path must do: its two ends, its velocity, its score, its conversions."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .reference import DTYPES, LIMIT, derivative, standard_error

__all__ = ["CHECKS"]

CHECKS = CheckList()

_TRACE = 0.05
"""How much of the other end may show at each end, as in a schedule."""


@CHECKS.add(hint="at t = 0 nothing of z is left; `source_scale` says how large x0 is there, 1 unless you override it")
def starts_at_the_source(subject: Subject) -> None:
    """x at t = 0 is source_scale * x0, but for noise of the path's own."""
    path, (x0, z) = subject.component, _pair(4000)
    mean, error = _mean(path, x0, z, 0.0)
    off = (mean - path.source_scale * x0[0]).abs()
    allowed = _TRACE * path.source_scale * max(1.0, float(z[0].abs().max())) + LIMIT * error
    require(
        bool((off <= allowed).all()),
        f"x0 = {_show(x0[0])} with z = {_show(z[0])} starts at {_show(mean)} instead of source_scale * x0 = "
        f"{_show(path.source_scale * x0[0])}",
    )


@CHECKS.add(hint="source_scale is the factor of x0 at t = 0: beta_0 of a Gaussian path")
def source_scale_is_the_scale_of_the_source(subject: Subject) -> None:
    """Where two paths to one z start, they are source_scale times their x0 apart."""
    path, x0, z = subject.component, _normal(0), _normal(1)
    t = torch.zeros(len(x0), dtype=x0.dtype)
    apart = path.sample(x0, z, t, seeded(5)) - path.sample(0 * x0, z, t, seeded(5))
    require_close(apart, path.source_scale * x0, 1e-9, "x at t = 0 against source_scale * x0")


@CHECKS.add(hint="at t = 1 the path is at z: is the time reversed, or does x0 not die out?")
def ends_at_the_data(subject: Subject) -> None:
    """x at t = 1 is z, but for noise of the path's own."""
    path, (x0, z) = subject.component, _pair(4000)
    mean, error = _mean(path, x0, z, 1.0)
    allowed = _TRACE * max(1.0, float(x0[0].abs().max())) + LIMIT * error
    require(
        bool(((mean - z[0]).abs() <= allowed).all()),
        f"x0 = {_show(x0[0])} with z = {_show(z[0])} ends at {_show(mean)}",
    )


@CHECKS.add(hint="differentiate `sample` in t with x0, z and the path's own noise held fixed")
def velocity_is_the_time_derivative_of_the_flow(subject: Subject) -> None:
    """velocity(x_t, x0, z, t) = d x_t / dt at fixed x0, z and noise."""
    path, x0, z, t = subject.component, *_triple()
    x = path.sample(x0, z, t, seeded(5))
    # Differences over 1e-3 err by 1e-12 times the fifth derivative, some 1e5 at t = 0.1 for a root of t, and rounding.
    wanted = derivative(lambda time: path.sample(x0, z, time, seeded(5)), t)
    require_close(path.velocity(x, x0, z, t), wanted, 1e-5, "the velocity against the time derivative of `sample`")


@CHECKS.add(hint="the score points to where the density is larger: of N(m, s^2) it is -(x - m) / s^2, with a minus sign")
def score_is_the_gradient_of_the_log_density(subject: Subject) -> None:
    """score(x_t, x0, z, t) = grad log p_t(x_t|z), by change of variables from x0 ~ N(0, I)."""
    path = _with_score(subject.component)
    if _has_own_noise(path):
        raise NotApplicable("it has noise of its own: see score_averages_as_a_score_does")
    require(
        not path.two_sided,
        "two_sided says that the score is that of p_t(x|x0, z), which without noise of the path's own has no density",
    )
    x0, z, t = (part[:6] for part in _triple())
    x = path.sample(x0, z, t, seeded(5))
    wanted = torch.stack([_score_of_flow(path, *row) for row in zip(x0, z, t, strict=True)])
    found = path.score(x, x0, z, t)
    share = float((found * wanted).sum() / wanted.square().sum())
    require(share > 0, f"the score points away from the data: it is {share:.4g} times the gradient of the log density")
    scale = wanted.abs().max().clamp(min=1)
    require_close(found / scale, wanted / scale, 1e-7, "the score against the gradient of the log density")


@CHECKS.add(hint="with x = m + s eps the score is -eps / s: divide by s once more, or change its sign?")
def score_averages_as_a_score_does(subject: Subject) -> None:
    """E[s_t(x) (x - E[x])] = -1 and E[s_t(x)] = 0, as for every density (Stein); 20 000 draws, 5 standard errors."""
    path = _with_score(subject.component)
    if not _has_own_noise(path):
        raise NotApplicable("it has no noise of its own: see score_is_the_gradient_of_the_log_density")
    x0, z = _pair(20_000)
    x0 = x0 if path.two_sided else torch.randn(x0.shape, generator=seeded(7), dtype=x0.dtype)
    for time in (0.23, 0.5, 0.71):
        t = torch.full((len(x0),), time, dtype=x0.dtype)
        x = path.sample(x0, z, t, seeded(8))
        score = path.score(x, x0, z, t)
        product = score * (x - x.mean(0))
        for what, values, wanted in (("s", score, 0.0), ("s (x - E[x])", product, -1.0)):
            mean, error = values.mean(0), standard_error(values)
            off = ((mean - wanted).abs() / error).max()
            require(
                float(off) <= LIMIT,
                f"at t = {time}, E[{what}] is {_show(mean)} instead of {wanted:g} (standard error {float(error.max()):.2g})",
            )


@CHECKS.add(hint="check which quantity is given and which wanted; at one data point velocity, score, data and noise are known")
def conversions_turn_one_conditional_field_into_another(subject: Subject) -> None:
    """Of a single data point, `convert` turns u_t(x|z), the score, z and x0 into each other."""
    path, x0, z, t = subject.component, *_triple()
    x = path.sample(x0, z, t, seeded(5))
    known = {Quantity.DATA: z, Quantity.VELOCITY: path.velocity(x, x0, z, t)}
    if not path.two_sided:  # else the noise is not x0
        known[Quantity.NOISE] = x0
    if path.has_score:
        known[Quantity.SCORE] = path.score(x, x0, z, t)
    for given, wanted in _pairs(path):
        if given in known and wanted in known:
            scale = known[wanted].abs().max().clamp(min=1)
            found = path.convert(known[given], x, t, given, wanted)
            # Rounding, made larger by coefficients of up to some 1e4 between these quantities.
            require_close(found / scale, known[wanted] / scale, 1e-9, f"{given.value} turned into {wanted.value}")


@CHECKS.add(hint="the two directions must solve the same two equations, for the state and for the given quantity")
def conversions_there_and_back_change_nothing(subject: Subject) -> None:
    """Turned into another quantity and back, a prediction is what it was."""
    path, x, value, t = subject.component, *_triple()
    for given, wanted in _pairs(path):
        if path.can_convert(wanted, given):
            there = path.convert(value, x, t, given, wanted)
            back = path.convert(there, x, t, wanted, given)
            require_close(back, value, 1e-8, f"{given.value} to {wanted.value} and back")


@CHECKS.add(hint="can_convert must be what convert does: refuse with UnsupportedError, and only that")
def can_convert_says_what_convert_does(subject: Subject) -> None:
    """Inside (0, 1), `convert` works where `can_convert` says so, and raises UnsupportedError where not."""
    path, x, value, t = subject.component, *_triple()
    for given in Quantity:
        for wanted in Quantity:
            said, works = path.can_convert(given, wanted), True
            try:
                path.convert(value, x, t, given, wanted)
            except UnsupportedError:
                works = False
            require(said == works, f"{given.value} to {wanted.value}: can_convert says {said}, and convert {works}")


@CHECKS.add(hint="d wanted / d given at fixed x, at each time: leave `slope` out, and it comes from `convert`")
def slope_is_how_errors_convert(subject: Subject) -> None:
    """slope(t, given, wanted) = d wanted / d given in `convert`."""
    path, x, value, t = subject.component, *_triple()
    for given, wanted in _pairs(path):
        change = path.convert(value + 1, x, t, given, wanted) - path.convert(value, x, t, given, wanted)
        found, expected = path.slope(t, given, wanted), change[:, 0]
        require(found.shape == t.shape, f"slope of {len(t)} times has shape {tuple(found.shape)}")
        scale = expected.abs().clamp(min=1e-3)  # conversions lose up to 1e-12 of numbers of some size
        require_close(found / scale, expected / scale, 1e-6, f"the slope of {wanted.value} in {given.value}")


@CHECKS.add(hint="expand_time(value, x) takes both a number and a tensor of shape (batch,)")
def conversions_take_one_time_or_many(subject: Subject) -> None:
    """`convert` at one time, a number, is that at the same time for every sample."""
    path, x, value, _ = subject.component, *_triple()
    for given, wanted in _pairs(path):
        for time in (0.3, 0.8):
            many = path.convert(value, x, torch.full((len(x),), time, dtype=x.dtype), given, wanted)
            one = path.convert(value, x, time, given, wanted)
            scale = many.abs().max().clamp(min=1)
            require_close(one / scale, many / scale, 1e-9, f"{given.value} to {wanted.value} at t = {time}")


@CHECKS.add(hint="return the analytic limit, or raise UnsupportedError that says why there is none; no epsilon")
def is_finite_or_refused_at_the_ends(subject: Subject) -> None:
    """At t = 0 and t = 1 every result is finite in every type, or an UnsupportedError."""
    path = subject.component
    for dtype in DTYPES:
        x0, z = _normal(0).to(dtype), _normal(1).to(dtype)
        for end in (0.0, 1.0):
            t = torch.full((len(x0),), end, dtype=dtype)
            x = path.sample(x0, z, t, seeded(5))
            _require_finite(x, f"sample at t = {end:g} in {dtype}")
            for name in ("velocity", "score"):
                if name == "velocity" or path.has_score:
                    _finite_or_refused(lambda name=name: getattr(path, name)(x, x0, z, t), f"{name} at t = {end:g} in {dtype}")
            for given, wanted in _pairs(path):
                for time in (end, t):
                    _finite_or_refused(
                        lambda time=time, given=given, wanted=wanted: path.convert(z, x, time, given, wanted),
                        f"{given.value} to {wanted.value} at t = {end:g} in {dtype}",
                    )


@CHECKS.add(hint="every row is a sample of its own: no statistics over the batch, no t[0] for all")
def does_not_depend_on_the_batch(subject: Subject) -> None:
    """A sample's state, velocity, score and conversions do not depend on the others in its batch."""
    path, x0, z, t = subject.component, *_triple()
    other = [x0.flip(0).clone(), z.flip(0).clone(), t.flip(0).clone()]
    for mine, theirs in zip((x0, z, t), other, strict=True):
        theirs[0] = mine[0]
    x, x_other = path.sample(x0, z, t, seeded(5)), path.sample(*other, seeded(5))
    require_close(x[0], x_other[0], 1e-9, "sample among others")
    for name in ("velocity", *(("score",) if path.has_score else ())):
        field = getattr(path, name)
        require_close(field(x, x0, z, t)[0], field(x_other, *other)[0], 1e-9, f"{name} among others")
    for given, wanted in _pairs(path):
        mine, theirs = path.convert(z, x, t, given, wanted), path.convert(other[1], x_other, other[2], given, wanted)
        scale = mine[0].abs().max().clamp(min=1)
        require_close(mine[0] / scale, theirs[0] / scale, 1e-9, f"{given.value} to {wanted.value} among others")


@CHECKS.add(hint="t has the shape (batch,): expand_time(value, x) makes it multiply x of shape (batch, *event)")
def takes_events_of_any_shape_and_type(subject: Subject) -> None:
    """Vectors and images in float64, float32 and bfloat16 keep their shape and type."""
    path = subject.component
    for shape in ((3,), (3, 4, 4)):
        for dtype in DTYPES:
            x0, z = _normal(0, shape).to(dtype), _normal(1, shape).to(dtype)
            t = torch.linspace(0.2, 0.8, len(x0)).to(dtype)
            x = path.sample(x0, z, t, seeded(5))
            found = {"sample": x, "velocity": path.velocity(x, x0, z, t)}
            if path.has_score:
                found["score"] = path.score(x, x0, z, t)
            for given, wanted in _pairs(path):
                found[f"{given.value} to {wanted.value}"] = path.convert(z, x, t, given, wanted)
            for name, value in found.items():
                require(value.shape == x0.shape, f"{name} of events {shape} has shape {tuple(value.shape)}")
                require(value.dtype == dtype, f"{name} of {dtype} is {value.dtype}")
                _require_finite(value, f"{name} in {dtype}")


@CHECKS.add(hint="pass the generator on to torch.randn")
def draws_from_the_generator_alone(subject: Subject) -> None:
    """One seed gives one x_t, and the global generator is left alone."""
    path, x0, z, t = subject.component, *_triple()
    state = torch.random.get_rng_state()
    first = path.sample(x0, z, t, seeded(5))
    require(torch.equal(state, torch.random.get_rng_state()), "`sample` draws from the global generator of torch")
    require(torch.equal(first, path.sample(x0, z, t, seeded(5))), "one seed gives two different x_t")


@CHECKS.add(hint="a path is a function of its arguments: work out of place")
def writes_to_none_of_its_arguments(subject: Subject) -> None:
    """x0, z and t are afterwards what they were."""
    path, x0, z, t = subject.component, *_triple()
    kept = [part.clone() for part in (x0, z, t)]
    x = path.sample(x0, z, t, seeded(5))
    path.velocity(x, x0, z, t)
    for name, before, after in zip(("x0", "z", "t"), kept, (x0, z, t), strict=True):
        require(torch.equal(before, after), f"{name} has been written to")


def _normal(seed: int, shape: tuple[int, ...] = (2,)) -> Tensor:
    return torch.randn(12, *shape, generator=seeded(seed), dtype=torch.float64)


def _triple() -> tuple[Tensor, Tensor, Tensor]:
    """x0, z, and a time inside (0, 1) for each."""
    t = 0.1 + 0.8 * torch.rand(12, generator=seeded(2), dtype=torch.float64)
    return _normal(0), 2 * _normal(1), t


def _pair(n: int) -> tuple[Tensor, Tensor]:
    """The same two ends n times over."""
    return _normal(0)[:1].expand(n, -1), 2 * _normal(1)[:1].expand(n, -1)


def _mean(path: Path, x0: Tensor, z: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """The mean of x_t over the path's own noise, and its standard error."""
    x = path.sample(x0, z, torch.full((len(x0),), time, dtype=x0.dtype), seeded(5))
    return x.mean(0), standard_error(x)


def _has_own_noise(path: Path) -> bool:
    x0, z, t = _triple()
    return not torch.equal(path.sample(x0, z, t, seeded(5)), path.sample(x0, z, t, seeded(6)))


def _with_score(path: Path) -> Path:
    if not path.has_score:
        raise NotApplicable("it has no score")
    return path


def _score_of_flow(path: Path, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """grad log p(x) for x = psi(x0), log p(x) = log N(x0; 0, I) - log |det dpsi/dx0|: that in x0, times dx0/dx."""

    def flow(start: Tensor) -> Tensor:
        return path.sample(start[None], z[None], t[None], seeded(5))[0]

    def log_density(start: Tensor) -> Tensor:
        return -start.square().sum() / 2 - torch.linalg.slogdet(torch.func.jacrev(flow)(start))[1]

    return torch.linalg.solve(torch.func.jacrev(flow)(x0).T, torch.func.grad(log_density)(x0))


def _pairs(path: Path) -> Iterator[tuple[Quantity, Quantity]]:
    for given in Quantity:
        for wanted in Quantity:
            if given is not wanted and path.can_convert(given, wanted):
                yield given, wanted


def _finite_or_refused(function, what: str) -> None:  # type: ignore[no-untyped-def]
    try:
        value = function()
    except UnsupportedError:
        return
    _require_finite(value, what)


def _require_finite(value: Tensor, what: str) -> None:
    require(bool(value.isfinite().all()), f"{what}: not a finite number")


def _show(values: Tensor) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values.flatten()[:4].tolist()) + ")"
