"""A conformance check: one property that every component of a kind must have, and what to do where it has not."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..plugins.registry import Registry

__all__ = ["Check", "CheckList", "NotApplicable", "NotChecked", "Subject", "require", "require_close", "seeded"]


class NotApplicable(Exception):
    """Raised by a check that says nothing of this component; the text says why."""


class NotChecked(Exception):
    """Raised where a component could not be looked at; the text says what is missing. It is no success."""


@dataclass(frozen=True)
class Subject:
    """What is checked, and the surroundings that it is checked in.

    Arguments:
        kind: Its kind.
        component: The object; a check gets a copy of its own, and may spoil it.
        registry: Where a check finds the parts that it needs beside this one.
        event_shape: The shape of one data point that the component was made for.
        num_classes: How many classes it was made for; None without labels.
    """

    kind: str
    component: Any
    registry: Registry
    event_shape: tuple[int, ...] = (2,)
    num_classes: int | None = None

    def copy(self) -> "Subject":
        """One whose component is a copy, as far as it can be copied."""
        try:
            component = copy.deepcopy(self.component)
        except Exception:  # a check of its own says so
            component = self.component
        return dataclasses.replace(self, component=component)

    def randn(self, n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal numbers, shape (n, *event_shape)."""
        return torch.randn(n, *self.event_shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


@dataclass(frozen=True)
class Check:
    """One property.

    Arguments:
        name: What reports and expected failures call it: the property as a claim, `starts_at_the_source`.
        run: Raises AssertionError where the component has not got it, with what was seen; `NotApplicable` where it
            need not have it. What it returns is a remark on a component that passes.
        claim: The property in one sentence.
        hint: What an author whose component fails should look at.
    """

    name: str
    run: Callable[[Subject], str | None]
    claim: str
    hint: str = ""

    def __call__(self, subject: Subject) -> str | None:
        """Run it."""
        return self.run(subject)


_Function = TypeVar("_Function", bound=Callable[[Subject], str | None])


class CheckList:
    """The checks of one kind, in the order of the file.

    Arguments:
        use: Uses a component once, with random numbers from a generator that it seeds, and returns what came of it.
            The checks of every component's manners (the global random state, the same seed) rest on it.
        unless: Asked before each check; raises `NotApplicable` where none of the list says anything of a component.

    Examples:
        >>> CHECKS = CheckList()
        >>> @CHECKS.add(hint="return alpha_t = 0 at t = 0")
        ... def starts_without_data(subject: Subject) -> None:
        ...     '''alpha_0 = 0.'''
        ...     require(float(subject.component.alpha(torch.zeros(()))) == 0, "alpha at t = 0 is not 0")
    """

    def __init__(
        self, use: Callable[[Subject], Any] | None = None, unless: Callable[[Subject], None] | None = None
    ) -> None:
        self.use, self.unless = use, unless
        self._checks: list[Check] = []

    def add(self, hint: str = "") -> Callable[[_Function], _Function]:
        """Make a check of a function; its name is the check's, the first line of its docstring the claim."""

        def added(function: _Function) -> _Function:
            claim = (function.__doc__ or "").strip().partition("\n")[0]
            self._checks.append(Check(function.__name__, self._run(function), claim, hint))
            return function

        return added

    def _run(self, function: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
        unless = self.unless
        if unless is None:
            return function

        def run(subject: Subject) -> str | None:
            unless(subject)
            return function(subject)

        return run

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks)

    def __len__(self) -> int:
        return len(self._checks)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own for every draw: nothing depends on the order of checks."""
    return torch.Generator().manual_seed(seed)


def require(condition: bool, message: str) -> None:
    """Fail with words."""
    if not condition:
        raise AssertionError(message)


def require_close(seen: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    """Fail where two tensors differ by more than `tolerance` times the larger of 1 and what is wanted.

    The message tells the worst element, and where one is a multiple of the other, that multiple: a wrong sign or a
    forgotten factor is what it is most often.
    """
    require(seen.shape == wanted.shape, f"{what}: shape {tuple(seen.shape)} instead of {tuple(wanted.shape)}")
    seen, wanted = seen.detach().double(), wanted.detach().double()
    require(bool(seen.isfinite().all()), f"{what}: not a finite number")
    off = (seen - wanted).abs() / wanted.abs().clamp(min=1)
    if float(off.max()) <= tolerance:
        return
    worst = int(off.flatten().argmax())
    text = f"{what}: {float(seen.flatten()[worst]):.6g} instead of {float(wanted.flatten()[worst]):.6g}"
    factor = float((seen * wanted).sum() / wanted.square().sum())
    if math.isfinite(factor) and float((seen - factor * wanted).abs().max()) <= 100 * tolerance * float(
        wanted.abs().max()
    ):
        text += f" (everywhere {factor:.4g} times what it should be)"
    raise AssertionError(text)
