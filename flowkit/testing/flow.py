"""What every path must do (1): its two ends, its velocity and its score."""

import torch
from torch import Tensor

from ..interfaces.path import Path
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .reference import LIMIT, derivative, standard_error

__all__ = ["CHECKS", "ends_and_times", "normal_states", "of_vectors"]


def of_vectors(subject: Subject) -> None:
    """The checks of paths draw x0 and z from N(0, I), which a path of other states than vectors cannot be held to."""
    if reason := subject.component.compatible_data(subject.randn(12, 1)):
        raise NotApplicable(f"checked at points of N(0, I), and {reason}: hold it to its claims in tests of your own")


CHECKS = CheckList(unless=of_vectors)

_TRACE = 0.05
"""How much of the other end may show at each end, as in a schedule."""


@CHECKS.add(hint="at t = 0 nothing of z is left; `start_scale(0)` says how large x0 is there, 1 unless you override it")
def starts_at_the_source(subject: Subject) -> None:
    """X at t = 0 is start_scale(0) * x0, but for noise of the path's own."""
    path, (x0, z) = subject.component, _pair(4000)
    scale = path.start_scale(0.0)
    mean, error = _mean(path, x0, z, 0.0)
    off = (mean - scale * x0[0]).abs()
    allowed = _TRACE * scale * max(1.0, float(z[0].abs().max())) + LIMIT * error
    require(
        bool((off <= allowed).all()),
        f"x0 = {_show(x0[0])} with z = {_show(z[0])} starts at {_show(mean)} instead of start_scale(0) * x0 = "
        f"{_show(scale * x0[0])}",
    )


@CHECKS.add(hint="start_scale(0) is the factor of x0 at t = 0: beta_0 of a Gaussian path")
def start_scale_is_the_scale_of_the_source(subject: Subject) -> None:
    """Where two paths to one z start, they are start_scale(0) times their x0 apart."""
    path, x0, z = subject.component, normal_states(0), normal_states(1)
    t = torch.zeros(len(x0), dtype=x0.dtype)
    apart = path.sample(x0, z, t, seeded(5)) - path.sample(0 * x0, z, t, seeded(5))
    require_close(apart, path.start_scale(0.0) * x0, 1e-9, "x at t = 0 against start_scale(0) * x0")


@CHECKS.add(hint="start_noise(t) is the deviation at t of the noise that `sample` draws")
def start_noise_is_what_sample_draws(subject: Subject) -> None:
    """The states of one x0 and z have the deviation start_noise at t = 0 and after it."""
    path, (x0, z) = subject.component, _pair(4000)
    for t in (0.0, 0.1):
        found = path.sample(x0, z, torch.full((len(x0),), t, dtype=x0.dtype), seeded(5))
        deviation, said = float((found - found.mean(0)).square().mean().sqrt()), path.start_noise(t)
        require(
            abs(deviation - said) <= LIMIT * said / (2 * found.numel()) ** 0.5 + 1e-9,
            f"states at t = {t:g} have a deviation of {deviation:.4g}, and start_noise({t:g}) is {said:.4g}",
        )


@CHECKS.add(hint="at t = 1 the path is at z: is the time reversed, or does x0 not die out?")
def ends_at_the_data(subject: Subject) -> None:
    """X at t = 1 is z, but for noise of the path's own."""
    path, (x0, z) = subject.component, _pair(4000)
    mean, error = _mean(path, x0, z, 1.0)
    allowed = _TRACE * max(1.0, float(x0[0].abs().max())) + LIMIT * error
    require(
        bool(((mean - z[0]).abs() <= allowed).all()),
        f"x0 = {_show(x0[0])} with z = {_show(z[0])} ends at {_show(mean)}",
    )


@CHECKS.add(hint="alpha_1 = 1: z is multiplied by 1 at t = 1, and so arrives unscaled")
def the_data_arrive_unscaled(subject: Subject) -> None:
    """Where two paths from one x0 end, they are as far apart as their z."""
    path, x0, z = subject.component, normal_states(0), normal_states(1)
    t = torch.ones(len(x0), dtype=x0.dtype)
    apart = path.sample(x0, z, t, seeded(5)) - path.sample(x0, 0 * z, t, seeded(5))
    # Where alpha^2 + beta^2 = 1, a trace of noise leaves 1 - trace^2 / 2 of the data.
    require_close(apart, z, _TRACE**2, "x at t = 1 against z")


@CHECKS.add(hint="differentiate `sample` in t with x0, z and the path's own noise held fixed")
def velocity_is_the_time_derivative_of_the_flow(subject: Subject) -> None:
    """velocity(x_t, x0, z, t) = d x_t / dt at fixed x0, z and noise."""
    path, x0, z, t = subject.component, *ends_and_times()
    x = path.sample(x0, z, t, seeded(5))
    # Differences over 1e-3 err by 1e-12 times the fifth derivative, some 1e5 at t = 0.1 for a root of t, and rounding.
    wanted = derivative(lambda time: path.sample(x0, z, time, seeded(5)), t)
    require_close(path.velocity(x, x0, z, t), wanted, 1e-5, "the velocity against the time derivative of `sample`")


@CHECKS.add(hint="the score points to where the density is larger: that of N(m, s^2) is -(x - m) / s^2")
def score_is_the_gradient_of_the_log_density(subject: Subject) -> None:
    """score(x_t, x0, z, t) = grad log p_t(x_t|z), by change of variables from x0 ~ N(0, I)."""
    path = _with_score(subject.component)
    if _has_own_noise(path):
        raise NotApplicable("it has noise of its own: see score_averages_as_a_score_does")
    require(
        not path.two_sided,
        "two_sided says that the score is that of p_t(x|x0, z), which without noise of the path's own has no density",
    )
    x0, z, t = (part[:6] for part in ends_and_times())
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
                f"at t = {time}, E[{what}] is {_show(mean)}, not {wanted:g} (standard error {float(error.max()):.2g})",
            )


@CHECKS.add(hint="set two_sided = True if the score is that of p_t(x|x0, z), or write it in x, z and t alone")
def score_says_whether_it_knows_both_ends(subject: Subject) -> None:
    """Unless `two_sided`, the score is that of p_t(x|z): at one x it is the same, whatever x0 led there."""
    path = _with_score(subject.component)
    if path.two_sided:
        raise NotApplicable("it says that its score is given both ends")
    if reasons := path.problems((1,)):
        raise NotApplicable(f"states are compared along one axis, and {reasons[0]}")
    n = 4000
    x0, t = torch.randn(n, 1, generator=seeded(7), dtype=torch.float64), torch.full((n,), 0.4, dtype=torch.float64)
    z = torch.full_like(x0, 0.5)
    x = path.sample(x0, z, t, seeded(8))
    score = path.score(x, x0, z, t)[:, 0][x[:, 0].argsort()]
    # Neighbours among 4000 states have scores that differ by some 1/1000 of their spread, if x decides them.
    share = float(score.diff().abs().median() / score.std())
    require(share <= 0.05, f"states next to each other have scores that differ by {share:.2g} of their spread")


def normal_states(seed: int, shape: tuple[int, ...] = (2,)) -> Tensor:
    """Twelve samples, float64."""
    return torch.randn(12, *shape, generator=seeded(seed), dtype=torch.float64)


def ends_and_times() -> tuple[Tensor, Tensor, Tensor]:
    """x0, z, and a time inside (0, 1) for each."""
    t = 0.1 + 0.8 * torch.rand(12, generator=seeded(2), dtype=torch.float64)
    return normal_states(0), 2 * normal_states(1), t


def _pair(n: int) -> tuple[Tensor, Tensor]:
    """The same two ends n times over."""
    return normal_states(0)[:1].expand(n, -1), 2 * normal_states(1)[:1].expand(n, -1)


def _mean(path: Path, x0: Tensor, z: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """The mean of x_t over the path's own noise, and its standard error."""
    x = path.sample(x0, z, torch.full((len(x0),), time, dtype=x0.dtype), seeded(5))
    return x.mean(0), standard_error(x)


def _has_own_noise(path: Path) -> bool:
    x0, z, t = ends_and_times()
    return not torch.equal(path.sample(x0, z, t, seeded(5)), path.sample(x0, z, t, seeded(6)))


def _with_score(path: Path) -> Path:
    if not path.has_score:
        raise NotApplicable("it has no score")
    return path


def _score_of_flow(path: Path, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Grad log p(x) for x = psi(x0), log p(x) = log N(x0; 0, I) - log |det dpsi/dx0|: that in x0, times dx0/dx."""

    def flow(start: Tensor) -> Tensor:
        return path.sample(start[None], z[None], t[None], seeded(5))[0]

    def log_density(start: Tensor) -> Tensor:
        return -start.square().sum() / 2 - torch.linalg.slogdet(torch.func.jacrev(flow)(start))[1]

    return torch.linalg.solve(torch.func.jacrev(flow)(x0).T, torch.func.grad(log_density)(x0))


def _show(values: Tensor) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values.flatten()[:4].tolist()) + ")"
