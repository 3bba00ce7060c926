"""Finding: one thing that was looked at, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "note", "ok", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Arguments:
        mark: `ok`; `note`: works, but slowly or not as one may think; `problem`: will not work.
        topic: What was looked at, in a word or two.
        seen: What was seen.
        advice: What to do about a note or a problem.
    """

    mark: Literal["ok", "note", "problem"]
    topic: str
    seen: str
    advice: str = ""


def ok(topic: str, seen: str) -> Finding:
    """All is well."""
    return Finding("ok", topic, seen)


def note(topic: str, seen: str, advice: str) -> Finding:
    """It works, but slowly or not as one may think."""
    return Finding("note", topic, seen, advice)


def problem(topic: str, seen: str, advice: str) -> Finding:
    """It will not work."""
    return Finding("problem", topic, seen, advice)
