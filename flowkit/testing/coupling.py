"""What every coupling must do: pair, and change neither marginal."""

import torch
from torch import Tensor

from ..conditions import Condition
from .check import CheckList, NotApplicable, Subject, require, seeded
from .reference import DTYPES, LIMIT, standard_error

__all__ = ["CHECKS"]

CHECKS = CheckList()

_PLAN = 0.02
"""How far from 1 the mean use of a point may be beside chance: an iterated plan is right to a percent."""


@CHECKS.add(hint="reorder what was given, by indices: x0[i], z[j], select_condition(y, j)")
def returns_the_points_it_was_given(subject: Subject) -> None:
    """Every x0 and every z that comes back is one of those given, and there are as many."""
    x0, z = _batch()
    for name, given, found in zip(
        ("x0", "z"), (x0, z), subject.component.pair(x0, z, None, seeded(0))[:2], strict=True
    ):
        require(len(found) == len(given), f"{len(given)} {name} are given, and {len(found)} come back")
        require(found.shape == given.shape, f"{name} of shape {tuple(given.shape)} comes back as {tuple(found.shape)}")
        require(
            bool((_places(found, given) >= 0).all()), f"a point comes back as {name} that was not among those given"
        )


@CHECKS.add(hint="move z and y by the same indices: select_condition(y, j)")
def leaves_conditions_with_their_data(subject: Subject) -> None:
    """Each y stays with its z: labels, real conditions, and a mapping of both."""
    x0, z = _batch()
    label, number = torch.arange(len(z)) % 3, z[:, 0] ** 3
    conditions: list[Condition] = [label, number, {"label": label, "number": number}]
    for y in conditions:
        _, z_found, y_found = subject.component.pair(x0, z, y, seeded(0))
        j = _places(z_found, z)
        for key, value in _parts(y).items():
            found = _parts(y_found).get(key)
            require(found is not None, f"the condition {key!r} does not come back")
            assert found is not None
            require(found.shape == value.shape, f"{len(value)} conditions come back as {tuple(found.shape)}")
            wrong = int((found != value[j]).sum())
            require(wrong == 0, f"{wrong} of {len(z)} data points come back with the condition of another")


@CHECKS.add(hint="without a condition, y is None, before and after")
def needs_no_conditions(subject: Subject) -> None:
    """Without conditions, y comes back as None."""
    require(subject.component.pair(*_batch(), None, seeded(0))[2] is None, "y = None comes back as something else")


@CHECKS.add(
    hint="draw each x0 once (a permutation), or from a plan whose columns sum alike; a nearest neighbour does not"
)
def keeps_the_marginal_of_x0(subject: Subject) -> None:
    """Every x0 is used once, or once on average over the coupling's draws."""
    _require_even_use(subject, 0, "x0")


@CHECKS.add(hint="use each z once: data points that are dropped are never learned")
def keeps_the_marginal_of_z(subject: Subject) -> None:
    """Every z is used once, or once on average over the coupling's draws."""
    _require_even_use(subject, 1, "z")


@CHECKS.add(hint="`independent = True` says that x0 and z have nothing to do with each other: leave it out otherwise")
def is_independent_if_it_says_so(subject: Subject) -> None:
    """If `independent`, then x0 and z are uncorrelated in what comes back, up to 5 / sqrt(n)."""
    if not subject.component.independent:
        raise NotApplicable("it does not say that it is independent")
    x0, z = (torch.randn(4096, 2, generator=seeded(seed), dtype=torch.float64) for seed in (1, 2))
    pairs = [
        subject.component.pair(a, b, None, seeded(i))[:2]
        for i, (a, b) in enumerate(zip(x0.split(64), z.split(64), strict=True))
    ]
    x0, z = (torch.cat(side) for side in zip(*pairs, strict=True))
    correlation = float((x0 * z).mean() / (x0.std() * z.std()))
    require(
        abs(correlation) <= LIMIT / (2 * len(x0)) ** 0.5, f"x0 and z come back with a correlation of {correlation:.3g}"
    )


@CHECKS.add(hint="draw from the generator that is passed in: no numpy.random, no global torch generator")
def repeats_with_its_seed(subject: Subject) -> None:
    """One seed gives one pairing, and the global generator is left alone."""
    x0, z = _batch()
    state = torch.random.get_rng_state()
    first = subject.component.pair(x0, z, None, seeded(3))
    require(torch.equal(state, torch.random.get_rng_state()), "it draws from the global generator of torch")
    for _ in range(3):
        again = subject.component.pair(x0, z, None, seeded(3))
        require(torch.equal(first[0], again[0]) and torch.equal(first[1], again[1]), "one seed gives two pairings")


@CHECKS.add(hint="flatten for the distances only, and index the points themselves")
def takes_events_of_any_shape_and_type(subject: Subject) -> None:
    """Vectors and images, float64 to bfloat16, come back in their shape and type."""
    for shape in ((1,), (3, 4, 4)):
        for dtype in DTYPES:
            x0, z = (torch.randn(6, *shape, generator=seeded(seed)).to(dtype) for seed in (1, 2))
            for name, given, found in zip(
                ("x0", "z"), (x0, z), subject.component.pair(x0, z, None, seeded(0))[:2], strict=True
            ):
                require(
                    found.shape == given.shape,
                    f"{name} of shape {tuple(given.shape)} comes back as {tuple(found.shape)}",
                )
                require(found.dtype == dtype, f"{name} of {dtype} comes back as {found.dtype}")


@CHECKS.add(hint="nothing to choose from is a case too: the last batch of an epoch may be one point")
def takes_a_batch_of_one(subject: Subject) -> None:
    """One x0 and one z are a pair."""
    x0, z = _batch()
    x0_found, z_found, y_found = subject.component.pair(x0[:1], z[:1], torch.tensor([4]), seeded(0))
    same = (
        torch.equal(x0_found, x0[:1])
        and torch.equal(z_found, z[:1])
        and torch.equal(_parts(y_found)["y"], torch.tensor([4]))
    )
    require(same, "a batch of one comes back as another")


@CHECKS.add(hint="`pair_each` gives what `pair` gives for each batch, in their order; without `together` leave it out")
def pairs_batches_together_as_each_by_itself(subject: Subject) -> None:
    """If `together`, then `pair_each` pairs several batches as `pair` does one by one."""
    coupling = subject.component
    if not coupling.together:
        raise NotApplicable("it does not take several batches together")
    x0, z = _batch()
    batches = [(x0 + shift, z.flip(0) if shift else z, torch.arange(len(z)) + shift) for shift in (0, 1, 2)]
    found = coupling.pair_each(batches)
    require(len(found) == len(batches), f"{len(batches)} batches are given, and {len(found)} come back")
    for i, (given, pairs) in enumerate(zip(batches, found, strict=True)):
        for name, a, b in zip(("x0", "z", "y"), coupling.pair(*given), pairs, strict=True):
            require(torch.equal(a, b), f"{name} of batch {i} comes back otherwise than it does by itself")


@CHECKS.add(hint="index into new tensors; do not sort or shift in place")
def writes_to_none_of_its_arguments(subject: Subject) -> None:
    """x0 and z are afterwards what they were."""
    x0, z = _batch()
    kept = x0.clone(), z.clone()
    subject.component.pair(x0, z, None, seeded(0))
    require(torch.equal(x0, kept[0]) and torch.equal(z, kept[1]), "x0 or z has been written to")


def _batch(n: int = 12) -> tuple[Tensor, Tensor]:
    x0, z = (torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64) for seed in (1, 2))
    return x0, 1 + z


def _places(found: Tensor, given: Tensor) -> Tensor:
    """Which of those given each is, or -1."""
    same = (found.flatten(1)[:, None] == given.flatten(1)).all(2)
    return torch.where(same.any(1), same.int().argmax(1), -1)


def _parts(y: Condition) -> dict[str, Tensor]:
    if isinstance(y, Tensor):
        return {"y": y}
    return dict(y or {})


def _require_even_use(subject: Subject, side: int, name: str) -> None:
    """The mean use over 60 seeds, of which a permutation needs but one; LIMIT standard errors and the plan's own."""
    if not subject.component.keeps_marginals:
        raise NotApplicable("it says that it does not keep the marginals")
    batch = _batch()
    counts = []
    for seed in range(60):
        found = subject.component.pair(*batch, None, seeded(seed))[side]
        counts.append(torch.bincount(_places(found, batch[side]).clamp(min=0), minlength=len(batch[side])).double())
        if seed == 3 and bool((torch.stack(counts) == 1).all()):
            return
    used = torch.stack(counts)
    mean, error = used.mean(0), standard_error(used)
    off = (mean - 1).abs() - LIMIT * error
    worst = int(off.argmax())
    require(
        float(off[worst]) <= _PLAN,
        f"{name} number {worst} of {len(mean)} is used {float(mean[worst]):.3g} times on average (standard error "
        f"{float(error[worst]):.2g}) instead of once",
    )
