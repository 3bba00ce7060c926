"""Named ranges around what others do, put there from outside: what is not profiled carries no trace of it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch.profiler import record_function

__all__ = ["PREFIX", "REST", "STEP", "Marked", "Marker", "self_seconds"]

PREFIX = "flowkit: "
"""Before the names of our ranges in the trace."""
STEP = "ProfilerStep"
"""How the names of the ranges begin that torch's profiler makes of whole steps."""
REST = "rest"


class Marker:
    """Makes ranges in which a named part of a step runs.

    An accelerator is waited for at both ends of every range: what was begun in a range has ended in it, and so the
    parts of a step are told apart. Without these ends they overlap, and a step takes less time than its parts.

    Arguments:
        device: Where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self.wait: Callable[[], object] = lambda: None
        if device.type == "cuda":
            self.wait = lambda: torch.cuda.synchronize(device)
        elif device.type == "mps":
            self.wait = torch.mps.synchronize

    @contextmanager
    def range(self, part: str) -> Iterator[None]:
        """What runs here belongs to that part."""
        self.wait()
        with record_function(PREFIX + part):
            yield
            self.wait()

    def marked(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, in a range."""

        @wraps(call)
        def in_range(*arguments: Any, **settings: Any) -> Any:
            with self.range(part):
                return call(*arguments, **settings)

        return in_range


class Marked:
    """An object as it is, except that a call of it, and of some of its methods, runs in a range.

    Arguments:
        inner: The object.
        marker: Makes the ranges.
        part: Their name.
        methods: The methods.
    """

    def __init__(self, inner: Any, marker: Marker, part: str, *methods: str) -> None:
        self._inner, self._call = inner, marker.marked(part, inner) if callable(inner) else None
        for method in methods:
            setattr(self, method, marker.marked(part, getattr(inner, method)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """What the object gives, in a range."""
        assert self._call is not None
        return self._call(*arguments, **settings)


def self_seconds(ranges: Iterable[tuple[str, float, float]]) -> list[dict[str, float]]:
    """What each part of each step took, without the parts within it; `rest` is what lies in no part.

    Arguments:
        ranges: Name, start and end in microseconds, of steps and of parts.
    """
    steps: list[dict[str, float]] = []
    around: list[tuple[str, float]] = []  # the ranges that the next one lies in: part and end
    for name, start, end in sorted(ranges, key=lambda found: (found[1], -found[2])):
        while around and around[-1][1] <= start:
            around.pop()
        if name.startswith(STEP):
            steps.append({REST: 0.0})
            around = []
        elif not around:
            continue  # after the last step
        part = name.removeprefix(PREFIX) if around else REST
        seconds = (end - start) / 1e6
        if around:
            steps[-1][around[-1][0]] -= seconds
        steps[-1][part] = steps[-1].get(part, 0.0) + seconds
        around.append((part, end))
    return steps
