"""What is asked of every component, whatever its kind: settings, documentation, copies, random state."""

import pickle

from .check import CheckList, Subject, require

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="write what the class is, its formula, and its arguments: `flowkit show` prints it")
def has_a_docstring(subject: Subject) -> None:
    """The class says what it is."""
    cls = type(subject.component)
    require(bool((cls.__dict__.get("__doc__") or "").strip()), f"{cls.__name__} has no docstring of its own")


@CHECKS.add(hint="keep plain data as attributes: no lambda, no open file, no local class")
def survives_pickling(subject: Subject) -> None:
    """It can be sent to a worker process."""
    try:
        pickle.loads(pickle.dumps(subject.component))
    except Exception as error:
        raise AssertionError(f"cannot be pickled: {type(error).__name__}: {error}") from error
