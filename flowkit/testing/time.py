"""What every distribution of training times must do."""

import copy

import torch
from torch import Tensor

from ..interfaces.time import TimeSampler
from .check import CheckList, NotApplicable, Subject, require, seeded
from .reference import DTYPES, LIMIT, path_for, standard_error

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="return shape (n,) for every n, also n = 1")
def gives_as_many_as_it_is_asked_for(subject: Subject) -> None:
    """`n` times have the shape (n,)."""
    for n in (1, 7, 64):
        found = subject.component.sample(n, seeded(0), path=path_for(subject))
        require(found.shape == (n,), f"{n} times have shape {tuple(found.shape)}")


@CHECKS.add(hint="pass `dtype` on to torch.rand, and convert last")
def has_the_type_it_is_asked_for(subject: Subject) -> None:
    """Times have the dtype that is passed in."""
    for dtype in DTYPES:
        found = subject.component.sample(8, seeded(0), dtype=dtype, path=path_for(subject))
        require(found.dtype == dtype, f"times of type {dtype} were asked for, and {found.dtype} came")


@CHECKS.add(hint="fields may be infinite at 0 and 1: clamp to [eps, 1 - eps] of the dtype, after rounding to it")
def stays_inside(subject: Subject) -> None:
    """Every time is in the open interval (0, 1), whatever it is rounded to."""
    for dtype in (*DTYPES, torch.float16):
        t = subject.component.sample(20_000, seeded(1), dtype=dtype, path=path_for(subject))
        low, high = float(t.min()), float(t.max())
        require(low > 0 and high < 1, f"in {dtype}, times from {low:.9g} to {high:.9g} were drawn")


@CHECKS.add(hint="draw from the generator that is passed in, and from nothing else")
def repeats_with_its_seed(subject: Subject) -> None:
    """The same generator gives the same times, whatever the global one does; another gives others."""
    path = path_for(subject)
    state = torch.random.get_rng_state()
    first = subject.component.sample(16, seeded(3), path=path)
    require(torch.equal(state, torch.random.get_rng_state()), "it draws from the global generator of torch")
    require(torch.equal(first, subject.component.sample(16, seeded(3), path=path)), "one seed gives two sets of times")
    require(not torch.equal(first, subject.component.sample(16, seeded(4), path=path)), "two seeds give one set")


@CHECKS.add(hint="divide each loss by the density of its time, p(t), as it was when the time was drawn")
def corrects_to_the_mean_over_uniform_times(subject: Subject) -> None:
    """Losses come out of `corrected` as they are, or such that their mean is that over uniform times."""
    path, time = path_for(subject), subject.component
    for seed in range(20):  # one that learns sees some batches first
        _corrected(time, time.sample(512, seeded(seed), dtype=torch.float64, path=path))
    t = time.sample(20_000, seeded(100), dtype=torch.float64, path=path)
    counted = _corrected(time, t)
    require(counted.shape == t.shape, f"{len(t)} losses come out with shape {tuple(counted.shape)}")
    if torch.equal(counted, _loss(t)):
        return
    wanted, found, error = 1.5, float(counted.mean()), float(standard_error(counted))  # the integral of 1/2 + 3 t^2
    require(
        abs(found - wanted) <= LIMIT * error,
        f"a loss of mean {wanted} over uniform times has the mean {found:.4g} (standard error {error:.2g}) corrected",
    )


@CHECKS.add(hint="`state` returns everything that `corrected` learns, as tensors that later batches do not write to")
def goes_on_from_its_state(subject: Subject) -> None:
    """After `restore`, the times are those that were drawn where `state` was taken."""
    path, time = path_for(subject), subject.component
    other = copy.deepcopy(time)
    for seed in range(20):
        _corrected(time, time.sample(512, seeded(seed), dtype=torch.float64, path=path))
    state = time.state()
    if not state and _draws(time, path) == _draws(other, path):
        raise NotApplicable("it learns nothing")
    wanted = _draws(time, path)
    _corrected(time, time.sample(512, seeded(50), dtype=torch.float64, path=path) ** 8)
    other.restore(state)
    require(_draws(other, path) == wanted, "restored from its state, it draws other times")


def _loss(t: Tensor) -> Tensor:
    return 0.5 + 3 * t.square()


def _corrected(time: TimeSampler, t: Tensor) -> Tensor:
    return time.corrected(t, _loss(t))


def _draws(time: TimeSampler, path: object) -> list[float]:
    return time.sample(64, seeded(9), path=path).tolist()  # type: ignore[arg-type]
