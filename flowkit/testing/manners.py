"""What is asked of every component, whatever its kind: settings, documentation, copies, random state."""

import copy
import pickle
import random
import time
from typing import Any

import numpy as np
import torch

from .check import CheckList, NotApplicable, Subject, require
from .settings import form_of_component, rebuilt, settings_of
from .use import tensors_in, use_of

__all__ = ["CHECKS"]

CHECKS = CheckList()

SLOW = 1.0
"""Seconds that a constructor may take."""


@CHECKS.add(hint="write what the class is, its formula, and its arguments: `flowkit show` prints it")
def has_a_docstring(subject: Subject) -> None:
    """The class says what it is."""
    cls = type(subject.component)
    require(bool((cls.__dict__.get("__doc__") or "").strip()), f"{cls.__name__} has no docstring of its own")


@CHECKS.add(hint="store each setting under its own name, `self.turns = turns`: config.yaml is written from that")
def keeps_its_settings(subject: Subject) -> None:
    """Every setting is an attribute of the same name, with a value that the setting allows."""
    settings_of(subject)


@CHECKS.add(hint="store settings as they were given; what is computed from them goes under another name")
def is_built_again_from_its_settings(subject: Subject) -> None:
    """Described in a file and built again, it has the same settings."""
    before = settings_of(subject)
    after = settings_of(subject, rebuilt(subject))
    for name, value in before.items():
        require(after[name] == value, f"{name}: {value!r} comes back as {after[name]!r}")


@CHECKS.add(hint="load, download and compute on first use, not in the constructor: configurations are built to look at")
def is_built_quickly(subject: Subject) -> None:
    """The constructor does nothing slow."""
    if _has_weights(subject):
        raise NotApplicable("a network draws its weights in its constructor")
    seconds = SLOW
    for _ in range(3):  # the least of them, for the machine may be busy with something else
        start = time.perf_counter()
        rebuilt(subject)
        seconds = min(time.perf_counter() - start, seconds)
        if seconds < SLOW:
            return
    raise AssertionError(f"the constructor takes more than {SLOW:g} s")


@CHECKS.add(hint="no torch.manual_seed and no draws: take a seed as a setting, and make a torch.Generator of it")
def is_built_without_the_global_random_state(subject: Subject) -> None:
    """Its constructor seeds nothing, and draws nothing but the weights of a network."""
    before, after = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before.append(_global_state())
        rebuilt(subject)
        after.append(_global_state())
    seeded = [name for name in before[0] if after[0][name] == after[1][name]]
    require(not seeded, f"the constructor seeds {' and '.join(seeded)}")
    drawn = [name for name in before[0] if before[0][name] != after[0][name]]
    require(
        not drawn or _has_weights(subject), f"the constructor draws from the global generator of {' and '.join(drawn)}"
    )


@CHECKS.add(hint="keep plain data as attributes: no lambda, no open file, no local class")
def survives_pickling(subject: Subject) -> None:
    """It can be sent to a worker process."""
    try:
        other = pickle.loads(pickle.dumps(subject.component))
    except Exception as error:
        raise AssertionError(f"cannot be pickled: {type(error).__name__}: {error}") from error
    _require_equal_settings(subject, other, "pickling")


@CHECKS.add(hint="keep plain data as attributes: no lock, no open file, no generator")
def survives_copying(subject: Subject) -> None:
    """`copy.deepcopy` gives another one like it."""
    try:
        other = copy.deepcopy(subject.component)
    except Exception as error:
        raise AssertionError(f"cannot be copied: {type(error).__name__}: {error}") from error
    _require_equal_settings(subject, other, "copying")


@CHECKS.add(hint="draw from the generator that is passed in, and seed nothing that is not yours")
def leaves_the_global_random_state_alone(subject: Subject) -> None:
    """Neither torch's global generator nor numpy's nor that of `random` moves when it is used."""
    use = use_of(subject)
    use(subject)  # what is imported or cached on first use is another matter
    _move_global_state()  # or else one who seeds would leave it as it was after the first use
    before = _global_state()
    use(subject)
    moved = [name for name, state in _global_state().items() if state != before[name]]
    require(not moved, f"moves the global random state of {' and '.join(moved)}")


@CHECKS.add(hint="draw from the generator that is passed in alone; keep nothing between calls")
def gives_the_same_for_the_same_seed(subject: Subject) -> None:
    """Used twice with equal generators, it gives the same."""
    use, other = use_of(subject), subject.copy()
    first = tensors_in(use(subject))
    _move_global_state()
    second = tensors_in(use(other))
    same = len(first) == len(second) and all(map(_equal, first, second))
    require(same, "two uses with generators of one seed give different numbers")


def _has_weights(subject: Subject) -> bool:
    return isinstance(subject.component, torch.nn.Module) and any(True for _ in subject.component.parameters())


def _require_equal_settings(subject: Subject, other: Any, what: str) -> None:
    try:
        form_of_component(subject)
        before = settings_of(subject)
    except (NotApplicable, AssertionError):  # a check of its own says so
        return
    after = settings_of(subject, other)
    changed = [name for name in before if before[name] != after[name]]
    require(not changed, f"{what} changes {', '.join(changed)}")


def _move_global_state() -> None:
    torch.rand(())
    np.random.random()
    random.random()


def _global_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "Python's `random`": random.getstate(),
    }


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
