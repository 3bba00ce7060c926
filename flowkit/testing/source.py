"""What every source must do."""

import math

import torch
from torch import Tensor

from ..errors import UnsupportedError
from .check import CheckList, NotApplicable, Subject, require, seeded

__all__ = ["CHECKS"]

CHECKS = CheckList()

LIMIT = 5.0
"""Standard errors that a mean may be off: by chance 6e-7 for each number that is looked at."""
MANY = 4000
SHAPES = ((2,), (5,), (1, 8, 8), (3, 16, 16))


@CHECKS.add(hint="`sample(n, event_shape, ...)` returns (n, *event_shape)")
def has_the_shape_asked_for(subject: Subject) -> None:
    """`sample(n, event_shape)` has shape (n, *event_shape)."""
    for n in (1, 5):
        seen, wanted = tuple(_draws(subject, n).shape), (n, *subject.event_shape)
        require(seen == wanted, f"sample({n}, {subject.event_shape}) has shape {seen} instead of {wanted}")


@CHECKS.add(hint="pass `dtype` on to torch.randn, or end in `.to(dtype)`")
def has_the_dtype_asked_for(subject: Subject) -> None:
    """Draws are of the type asked for, and finite in it."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x0 = _draws(subject, 16, dtype=dtype)
        require(x0.dtype is dtype, f"asked for {dtype}, it gives {x0.dtype}")
        require(bool(x0.isfinite().all()), f"in {dtype} some draws are not finite")


@CHECKS.add(hint="draw from the generator that is passed in: `torch.randn(shape, generator=generator)`")
def draws_follow_the_generator(subject: Subject) -> None:
    """The same seed gives the same draws, and another seed others."""
    _require_many_points(subject)
    first, again, other = (_draws(subject, 16, seed) for seed in (1, 1, 2))
    require(torch.equal(first, again), "two generators of one seed give different draws")
    require(not torch.equal(first, other), "generators of different seeds give the same draws")


@CHECKS.add(hint="every one of the n draws needs random numbers of its own: draw (n, *event_shape), do not expand one")
def draws_are_independent(subject: Subject) -> None:
    """Draws of one batch have nothing to do with each other."""
    _require_many_points(subject)
    x0 = _draws(subject, 2 * MANY, dtype=torch.float64).flatten(1)
    first, second = (part - x0.mean(0) for part in (x0[::2], x0[1::2]))
    products = (first * second).mean(1)
    require(bool((x0[0] != x0[1]).any()), "the first two draws of a batch are equal")
    off = abs(float(products.mean())) / max(float(products.std()) / math.sqrt(MANY), 1e-300)
    require(off < LIMIT, f"neighbours in a batch are correlated: {off:.1f} standard errors from none")


@CHECKS.add(hint="`standard_normal = True` says x0 ~ N(0, I), and Gaussian paths take it at its word")
def is_standard_normal_if_it_says_so(subject: Subject) -> None:
    """A source that says it is N(0, I) has its moments up to the fourth."""
    if not subject.component.standard_normal:
        raise NotApplicable("it does not say that it is")
    x0 = _draws(subject, MANY, dtype=torch.float64).flatten()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        seen, error = float(x0.pow(power).mean()), math.sqrt(variance / len(x0))
        off = abs(seen - moment) / error
        require(off < LIMIT, f"E[x0^{power}] is {seen:.4g} instead of {moment}: {off:.0f} standard errors off")


@CHECKS.add(
    hint="`problems` returns one sentence for each reason why x0 of this shape cannot be had, and [] without one"
)
def says_which_shapes_it_refuses(subject: Subject) -> None:
    """Where `problems` has nothing to say, it samples; where it has, in sentences."""
    for shape in dict.fromkeys((subject.event_shape, *SHAPES)):
        problems = subject.component.problems(shape)
        words = isinstance(problems, list) and all(isinstance(text, str) and text.strip() for text in problems)
        require(words, f"problems({shape}) is {problems!r}, not a list of sentences")
        if problems:
            continue
        try:
            seen = tuple(subject.component.sample(2, shape, seeded(0)).shape)
        except Exception as error:
            raise AssertionError(
                f"problems({shape}) is [], and then it fails: {type(error).__name__}: {error}"
            ) from error
        require(seen == (2, *shape), f"problems({shape}) is [], and then draws have shape {seen}")


@CHECKS.add(hint="sum over all axes of an event, not over the batch: `x.flatten(1).square().sum(1)`")
def log_prob_is_one_number_a_draw(subject: Subject) -> None:
    """`log_prob` has shape (batch,), and each depends on its own x alone."""
    x = _draws(subject, 6, dtype=torch.float64)
    log_prob = _log_prob(subject, x)
    require(tuple(log_prob.shape) == (6,), f"log_prob of 6 draws has shape {tuple(log_prob.shape)} instead of (6,)")
    require(bool(log_prob.isfinite().all()), "log_prob of its own draws is not finite")
    alone = _log_prob(subject, x[:1])
    require(bool((log_prob[:1] - alone).abs() < 1e-6 * (1 + alone.abs())), "log_prob changes with what else is asked")


@CHECKS.add(hint="the gradient of log_prob is not that of the draws: look at scale and sign inside log_prob and sample")
def log_prob_is_that_of_the_draws(subject: Subject) -> None:
    """Stein's identity: E[grad log p] = 0 and E[x_i d_i log p] = -1 over draws of p."""
    x = _draws(subject, MANY, dtype=torch.float64).requires_grad_()
    log_prob = _log_prob(subject, x)
    _require_no_edge(subject, x)
    if not log_prob.requires_grad:
        raise NotApplicable("its log_prob is not differentiable in x")
    (slope,) = torch.autograd.grad(log_prob.sum(), x)
    x, slope = x.detach().flatten(1), slope.flatten(1)
    centred = x - x.median(0).values
    for values, wanted, what in (
        (slope, 0.0, "E[grad log p]"),
        (centred * slope, -1.0, "E[x d log p / dx]"),
    ):
        error = values.std(0).clamp(min=1e-12) / math.sqrt(MANY)
        off = (values.mean(0) - wanted).abs() / error
        worst = int(off.argmax())
        seen = float(values.mean(0)[worst])
        require(
            float(off[worst]) < LIMIT,
            f"{what} over {MANY} draws is {seen:.3g} instead of {wanted:g} ({float(off[worst]):.0f} standard errors)",
        )


@CHECKS.add(hint="a constant is missing or wrong in log_prob, such as -d/2 log(2 pi), or log of a scale")
def density_integrates_to_one(subject: Subject) -> None:
    r"""$E_p[q(x)/p(x)] = \int q = 1$, for a density q around draws of p."""
    x = _draws(subject, MANY, dtype=torch.float64)
    if x[0].numel() > 8:
        raise NotApplicable(f"an integral over {x[0].numel()} dimensions says nothing")
    log_p, flat = _log_prob(subject, x), x.flatten(1)
    _require_no_edge(subject, x)
    centres, points = flat[:64], flat[64:]
    quarters = flat.quantile(torch.tensor([0.25, 0.75], dtype=flat.dtype), dim=0)
    width = (quarters[1] - quarters[0]).clamp(min=1e-12) / 3
    kernels = torch.distributions.Normal(centres[None], width).log_prob(points[:, None]).sum(2)
    ratio = (kernels.logsumexp(1) - math.log(64) - log_p[64:]).exp()
    mean, error = float(ratio.mean()), float(ratio.std()) / math.sqrt(len(ratio))
    require(
        abs(mean - 1) < LIMIT * error + 1e-6,
        f"exp(log_prob) integrates to about {1 / mean:.3g} instead of 1 (log_prob is off by {-math.log(mean):.3g})",
    )


def _draws(subject: Subject, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    x0: Tensor = subject.component.sample(n, subject.event_shape, seeded(seed), dtype=dtype)
    return x0


def _require_many_points(subject: Subject) -> None:
    """A source of tokens may give the mask alone."""
    x0 = torch.cat([_draws(subject, 16, seed) for seed in (1, 2)])
    if bool((x0 == x0[0]).all()):
        raise NotApplicable("all of its draws are the same point")


def _require_no_edge(subject: Subject, x: Tensor) -> None:
    """Integrals over a density that ends somewhere would have to stop there."""
    x = x.detach()
    try:
        outside = _log_prob(subject, x.median(0).values + 3 * (x - x.median(0).values))
    except ValueError:  # torch.distributions refuses what is outside of its support
        outside = torch.tensor(-torch.inf)
    if bool((outside == -torch.inf).any()):
        raise NotApplicable("its density ends at an edge")


def _log_prob(subject: Subject, x: Tensor) -> Tensor:
    try:
        log_prob: Tensor = subject.component.log_prob(x)
    except UnsupportedError as error:
        raise NotApplicable(str(error)) from error
    return log_prob
