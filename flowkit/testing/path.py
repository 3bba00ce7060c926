"""What every path must do: its two ends, its velocity, its score, and conversions that agree with them."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from ..shapes import Time
from .check import NotApplicable, Subject, require, require_close, seeded
from .flow import CHECKS, ends_and_times, normal_states
from .reference import DTYPES, NormalField

__all__ = ["CHECKS"]

# The list goes on from flow.py.


@CHECKS.add(hint="check which quantity is given and which wanted; for one data point all of them are known")
def conversions_turn_one_conditional_field_into_another(subject: Subject) -> None:
    """Of a single data point, `convert` turns u_t(x|z), the score, z and x0 into each other."""
    path, x0, z, t = subject.component, *ends_and_times()
    x = path.sample(x0, z, t, seeded(5))
    known = {Quantity.DATA: z, Quantity.VELOCITY: path.velocity(x, x0, z, t)}
    if not path.two_sided:  # else the noise is not x0
        known[Quantity.NOISE] = x0
    if path.has_score:
        known[Quantity.SCORE] = path.score(x, x0, z, t)
    for given, wanted in _convertible(path):
        if given in known and wanted in known:
            scale = known[wanted].abs().max().clamp(min=1)
            found = path.convert(known[given], x, t, given, wanted)
            # Rounding, made larger by coefficients of up to some 1e4 between these quantities.
            require_close(found / scale, known[wanted] / scale, 1e-9, f"{given.value} turned into {wanted.value}")


@CHECKS.add(hint="the two directions must solve the same two equations, for the state and for the given quantity")
def conversions_there_and_back_change_nothing(subject: Subject) -> None:
    """Turned into another quantity and back, a prediction is what it was."""
    path, x, value, t = subject.component, *ends_and_times()
    for given, wanted in _convertible(path):
        if path.can_convert(wanted, given):
            there = path.convert(value, x, t, given, wanted)
            back = path.convert(there, x, t, wanted, given)
            require_close(back, value, 1e-8, f"{given.value} to {wanted.value} and back")


@CHECKS.add(hint="can_convert must be what convert does: refuse with UnsupportedError, and only that")
def can_convert_says_what_convert_does(subject: Subject) -> None:
    """Inside (0, 1), `convert` works where `can_convert` says so, and raises UnsupportedError where not."""
    path, x, value, t = subject.component, *ends_and_times()
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
    """slope(t, given, wanted) = d wanted / d given in `convert`, or an UnsupportedError."""
    path, x, value, t = subject.component, *ends_and_times()
    for given, wanted in _convertible(path):
        change = path.convert(value + 1, x, t, given, wanted) - path.convert(value, x, t, given, wanted)
        try:
            found, expected = path.slope(t, given, wanted), change[:, 0]
        except UnsupportedError:  # a conversion with more than one coefficient has no slope
            continue
        require(found.shape == t.shape, f"slope of {len(t)} times has shape {tuple(found.shape)}")
        scale = expected.abs().clamp(min=1e-3)  # conversions lose up to 1e-12 of numbers of some size
        require_close(found / scale, expected / scale, 1e-6, f"the slope of {wanted.value} in {given.value}")


@CHECKS.add(hint="expand_time(value, x) takes both a number and a tensor of shape (batch,)")
def conversions_take_one_time_or_many(subject: Subject) -> None:
    """`convert` at one time, a number, is that at the same time for every sample."""
    path, x, value, _ = subject.component, *ends_and_times()
    for given, wanted in _convertible(path):
        for time in (0.3, 0.8):
            many = path.convert(value, x, torch.full((len(x),), time, dtype=x.dtype), given, wanted)
            one = path.convert(value, x, time, given, wanted)
            scale = many.abs().max().clamp(min=1)
            require_close(one / scale, many / scale, 1e-9, f"{given.value} to {wanted.value} at t = {time}")


@CHECKS.add(hint="noise and score say nothing of z where alpha is 0: return `data_mean` there")
def pure_noise_leaves_the_mean_of_the_data(subject: Subject) -> None:
    """At t = 0, where x is noise alone, the noise and the score are turned into the data point `data_mean`."""
    path, x, noise = subject.component, normal_states(0), normal_states(1)
    schedule = path.schedule
    if schedule is None or float(schedule.alpha(torch.zeros((), dtype=torch.float64))) != 0:
        raise NotApplicable("its x is never noise alone")
    for given in (Quantity.NOISE, Quantity.SCORE):
        try:
            found = path.convert(noise, x, 0.0, given, Quantity.DATA, 1.5)
        except UnsupportedError:
            continue
        require_close(found, torch.full_like(x, 1.5), 1e-9, f"{given.value} to data at t = 0 with data_mean = 1.5")


@CHECKS.add(hint="scale the state to the same signal-to-noise ratio, ask the model at its time, and scale back")
def rescheduled_fields_are_those_of_the_other_schedule(subject: Subject) -> None:
    """`reschedule` gives the fields that the same data have on the other schedule; seen on Gaussian data."""
    path, x = subject.component, normal_states(0)
    schedule = path.schedule
    if schedule is None:
        raise NotApplicable("it has no schedule")
    exact = NormalField()
    try:
        model, other = path.reschedule(NormalField(schedule=schedule), exact.schedule)
    except UnsupportedError as reason:
        raise NotApplicable(str(reason)) from reason
    require(isinstance(other, Path), f"the second result is a {type(other).__name__} and no path")
    for t in (0.25, 0.5, 0.75):
        for quantity in (Quantity.DATA, Quantity.VELOCITY, Quantity.SCORE):
            (found,), (wanted,) = (field.predict(x, t, None, (quantity,)) for field in (model, exact))
            # The time of a signal-to-noise ratio is found to some 1e-12, and fields are some 10 steep in it.
            require_close(found, wanted, 1e-7, f"the {quantity.value} at t = {t} on the other schedule")


@CHECKS.add(hint="return the analytic limit, or raise UnsupportedError that says why there is none; no epsilon")
def is_finite_or_refused_at_the_ends(subject: Subject) -> None:
    """At t = 0 and t = 1 every result is finite in every type, or an UnsupportedError."""
    path = subject.component
    for dtype in DTYPES:
        x0, z = normal_states(0).to(dtype), normal_states(1).to(dtype)
        for end in (0.0, 1.0):
            t = torch.full((len(x0),), end, dtype=dtype)
            x = path.sample(x0, z, t, seeded(5))
            _require_finite(x, f"sample at t = {end:g} in {dtype}")
            for time in (end, t):
                for name, function in _functions(path, x, x0, z, t, time).items():
                    _require_finite_or_refused(function, f"{name} at t = {end:g} in {dtype}")


@CHECKS.add(hint="every row is a sample of its own: no statistics over the batch, no t[0] for all")
def does_not_depend_on_the_batch(subject: Subject) -> None:
    """A sample's state, velocity, score and conversions do not depend on the others in its batch."""
    path, x0, z, t = subject.component, *ends_and_times()
    others = x0.flip(0).clone(), z.flip(0).clone(), t.flip(0).clone()
    for mine, changed in zip((x0, z, t), others, strict=True):
        changed[0] = mine[0]
    x, x_other = path.sample(x0, z, t, seeded(5)), path.sample(*others, seeded(5))
    require_close(x[0], x_other[0], 1e-9, "sample among others")
    theirs = _functions(path, x_other, *others, time=others[2])
    for name, function in _functions(path, x, x0, z, t, t).items():
        alone = function()[0]
        scale = alone.abs().max().clamp(min=1)
        require_close(theirs[name]()[0] / scale, alone / scale, 1e-9, f"{name} among others")


@CHECKS.add(
    hint="t has the shape (batch,): expand_time(value, x) makes it multiply x of shape (batch, *event); a path that is "
    "for some shapes alone refuses the others in problems(event_shape)"
)
def takes_events_of_any_shape_and_type(subject: Subject) -> None:
    """Vectors and images in float64, float32 and bfloat16 keep their shape and type, but for those in `problems`."""
    path = subject.component
    for shape in ((2,), (3,), (3, 4, 4)):
        if path.problems(shape):
            continue
        for dtype in DTYPES:
            x0, z = normal_states(0, shape).to(dtype), normal_states(1, shape).to(dtype)
            t = torch.linspace(0.2, 0.8, len(x0)).to(dtype)
            x = path.sample(x0, z, t, seeded(5))
            found = {name: function() for name, function in _functions(path, x, x0, z, t, t).items()}
            for name, value in {"sample": x, **found}.items():
                require(value.shape == x0.shape, f"{name} of events {shape} has shape {tuple(value.shape)}")
                require(value.dtype == dtype, f"{name} of {dtype} is {value.dtype}")
                _require_finite(value, f"{name} in {dtype}")


@CHECKS.add(hint="pass the generator on to torch.randn")
def draws_from_the_generator_alone(subject: Subject) -> None:
    """One seed gives one x_t, and the global generator is left alone."""
    path, x0, z, t = subject.component, *ends_and_times()
    state = torch.random.get_rng_state()
    first = path.sample(x0, z, t, seeded(5))
    require(torch.equal(state, torch.random.get_rng_state()), "`sample` draws from the global generator of torch")
    require(torch.equal(first, path.sample(x0, z, t, seeded(5))), "one seed gives two different x_t")


@CHECKS.add(hint="a path is a function of its arguments: work out of place")
def writes_to_none_of_its_arguments(subject: Subject) -> None:
    """x0, z and t are afterwards what they were."""
    path, x0, z, t = subject.component, *ends_and_times()
    kept = [part.clone() for part in (x0, z, t)]
    x = path.sample(x0, z, t, seeded(5))
    path.velocity(x, x0, z, t)
    for name, before, after in zip(("x0", "z", "t"), kept, (x0, z, t), strict=True):
        require(torch.equal(before, after), f"{name} has been written to")


def _convertible(path: Path) -> Iterator[tuple[Quantity, Quantity]]:
    """The conversions that a path says it has, given and wanted."""
    for given in Quantity:
        for wanted in Quantity:
            if given is not wanted and path.can_convert(given, wanted):
                yield given, wanted


def _functions(path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, time: Time) -> dict[str, Callable[[], Tensor]]:
    """Everything that a path computes at x_t, by name; conversions at `time`."""
    found: dict[str, Callable[[], Tensor]] = {"velocity": partial(path.velocity, x, x0, z, t)}
    if path.has_score:
        found["score"] = partial(path.score, x, x0, z, t)
    for given, wanted in _convertible(path):
        found[f"{given.value} to {wanted.value}"] = partial(path.convert, z, x, time, given, wanted)
    return found


def _require_finite_or_refused(function: Callable[[], Tensor], what: str) -> None:
    try:
        value = function()
    except UnsupportedError:
        return
    _require_finite(value, what)


def _require_finite(value: Tensor, what: str) -> None:
    require(bool(value.isfinite().all()), f"{what}: not a finite number")
