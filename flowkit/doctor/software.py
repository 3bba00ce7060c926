"""The packages that flowkit needs, the plugins, and the environment variables that change what it does."""

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping

from packaging.requirements import Requirement

from .. import __version__
from ..errors import did_you_mean
from ..plugins.manager import PluginManager
from ..plugins.notes import delays, failures
from .finding import Finding, note, ok, problem

__all__ = ["environment", "extras", "packages", "plugins"]

DISTRIBUTION = "flowkit-torch"
IMPORTED = ("torch", "accelerate", "numpy")
"""Packages that are imported to see whether they work; the others are looked up in their metadata."""

VARIABLES = {
    "FLOWKIT_PLUGINS": "only these plugins are loaded",
    "FLOWKIT_DISABLE_PLUGINS": "these plugins are left out",
    "FLOWKIT_STRICT_PLUGINS": "a plugin that does not load stops every command, unless it is 0",
    "OMP_NUM_THREADS": "the CPU threads of torch; flowkit leaves the choice to it",
    "MKL_NUM_THREADS": "the CPU threads of products of matrices",
    "CUDA_VISIBLE_DEVICES": "the GPUs that torch sees",
    "RANK": "the index of this process, set by a launcher",
    "WORLD_SIZE": "the number of processes, set by a launcher",
    "ACCELERATE_USE_CPU": "training stays on the CPU",
    "ACCELERATE_MIXED_PRECISION": "training stops unless it is no, or what training.mixed_precision says",
}


def packages() -> Iterator[Finding]:
    """Python, and everything that flowkit depends on: there, new enough, and the largest of it can be imported."""
    yield ok("python", f"{platform.python_version()} on {platform.platform()}")
    yield ok("flowkit", f"{__version__}, in {os.path.dirname(os.path.dirname(__file__))}")
    try:
        needed = [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        yield problem(
            "packages",
            f"{DISTRIBUTION} is not installed, so its plugins are not found",
            "install it: pip install -e . in its folder",
        )
        needed = [Requirement(name) for name in IMPORTED]
    needed = [requirement for requirement in needed if requirement.marker is None or requirement.marker.evaluate()]
    missing = {requirement.name: why for requirement in needed if (why := unmet(requirement))}
    for name, why in missing.items():
        wanted = next(str(requirement) for requirement in needed if requirement.name == name)
        yield problem(name, why, f"pip install '{wanted}'")
    for name in IMPORTED:
        if name not in missing:
            yield _imported(name)
    others = [requirement.name for requirement in needed if requirement.name not in (*missing, *IMPORTED)]
    if others:
        yield ok("packages", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in others))


def unmet(requirement: Requirement) -> str:
    """Why a requirement is not met, with those of its extras; empty if it is."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, and should be {requirement.specifier}"
    found = (unmet(needed) for extra in requirement.extras for needed in of_extra(requirement.name, extra))
    return next(filter(None, found), "")


def of_extra(distribution: str, extra: str) -> list[Requirement]:
    """What an extra of a distribution adds to its requirements."""
    requirements = [Requirement(text) for text in importlib.metadata.requires(distribution) or ()]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]


def _imported(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return problem(
            name,
            f"{importlib.metadata.version(name)} is installed and cannot be imported: {reason}",
            f"reinstall it: pip install --force-reinstall {name}",
        )
    return ok(name, str(module.__version__))


def plugins(manager: PluginManager) -> Iterator[Finding]:
    """What the plugins give, and which do not load, are slow or were left out."""
    working = [record for record in manager.records if record.status == "ok"]
    if working:
        seconds = sum(record.seconds for record in working)
        names = ", ".join(sorted({f"{record.distribution} {record.version}" for record in working}))
        count = sum(len(record.components) for record in working)
        yield ok("plugins", f"{len(working)} with {count} components, loaded in {seconds:.2f} s ({names})")
    else:
        yield problem(
            "plugins",
            "no plugin is loaded, so there is nothing to build a model from",
            "install flowkit-torch (pip install -e . in its folder), and unset FLOWKIT_PLUGINS",
        )
    left_out = [record.name for record in manager.records if record.status == "disabled"]
    if left_out:
        yield note(
            "plugins",
            f"left out by FLOWKIT_PLUGINS or FLOWKIT_DISABLE_PLUGINS: {', '.join(left_out)}",
            "unset these variables to have them back",
        )
    for sentence in failures(manager):
        yield problem("plugins", sentence, "`flowkit plugins` lists all of them; upgrade or mend this one")
    for sentence in delays(manager):
        yield note("plugins", sentence, "tell its author, or leave it out")


def extras(manager: PluginManager) -> Iterator[Finding]:
    """The optional dependencies of the distributions that plugins come from."""
    for distribution in sorted({record.distribution for record in manager.records if record.status == "ok"}):
        try:
            declared = importlib.metadata.metadata(distribution).get_all("Provides-Extra") or []
        except importlib.metadata.PackageNotFoundError:
            continue  # a plugin that was registered by hand
        there = {extra for extra in declared if not any(map(unmet, of_extra(distribution, extra)))}
        if declared:
            absent = [extra for extra in declared if extra not in there]
            text = f"of {distribution}: {', '.join(sorted(there)) or 'none'} installed"
            yield ok("extras", text + (f", {', '.join(absent)} not" if absent else ""))
        wanting: dict[str, list[str]] = {}
        for entry in manager.registry:
            extra = entry.component.extra
            if extra and entry.distribution == distribution and extra not in there:
                wanting.setdefault(extra, []).append(f"{entry.component.kind} {entry.component.name}")
        for extra, components in wanting.items():
            yield note(
                "extras",
                f"{', '.join(components)} cannot be used without the extra {extra}",
                f"pip install '{distribution}[{extra}]'",
            )


def environment(variables: Mapping[str, str]) -> Iterator[Finding]:
    """The environment variables that change what flowkit, torch or Accelerate do."""
    for name, value in sorted(variables.items()):
        known = VARIABLES.get(name)
        if known is None and name.startswith("ACCELERATE_"):
            known = "read by Accelerate"
        if known is not None:
            yield ok("environment", f"{name}={value}: {known}")
        elif name.startswith("FLOWKIT_"):
            yield note(
                "environment",
                f"{name}: flowkit reads no such variable{did_you_mean(name, VARIABLES)}",
                f"unset it; flowkit reads {', '.join(known for known in VARIABLES if known.startswith('FLOWKIT_'))}",
            )
    for name in ("RANK", "WORLD_SIZE"):
        if not variables.get(name, "0").strip().isdigit():
            yield problem("environment", f"{name}={variables[name]} is not a whole number", f"unset {name}")
