"""Looks at everything that decides whether flowkit works here, and how fast."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..plugins.manager import PluginManager, installed_plugins
from .compiling import compiler, try_compiling
from .finding import Finding, problem
from .machine import cores, devices, disk, load
from .software import environment, extras, packages, plugins

__all__ = ["diagnose"]

Check = Callable[[], Iterator[Finding]]


def diagnose(
    folder: str | Path = "runs", *, compiling: bool = False, manager: PluginManager | None = None
) -> list[Finding]:
    """What is there, what is slow or broken, and what to do about it, in about three seconds.

    Arguments:
        folder: Where runs go.
        compiling: Also try torch.compile, which takes up to two minutes.
        manager: The plugins; those that are installed by default.

    Examples:
        >>> problems = [finding for finding in diagnose() if finding.mark == "problem"]
    """
    manager = manager or installed_plugins()
    found = list(packages())
    if not any(finding.topic == "torch" and finding.mark == "problem" for finding in found):
        from .speed import speed

        for check in (cores, load, devices, speed, try_compiling if compiling else compiler):
            found += _findings(check)
    for check in (partial(plugins, manager), partial(extras, manager), partial(environment, os.environ)):
        found += _findings(check)
    return found + _findings(partial(disk, Path(folder)))


def _findings(check: Check) -> list[Finding]:
    """What a check finds. One that fails has found something too, and the others go on."""
    try:
        return list(check())
    except Exception as error:
        name = check.func.__name__ if isinstance(check, partial) else check.__name__
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return [
            problem(name, f"could not be looked at: {reason}", "report it, with the output of flowkit doctor --json")
        ]
