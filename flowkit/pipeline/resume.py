"""Whether a run may go on under a configuration."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config.choice import Choice
from ..config.config import COMPONENTS, SECTIONS, Config, read_config
from ..errors import ConfigError, FlowkitError, Problem
from ..plugins.manager import PluginManager
from .provenance import qualified

__all__ = ["COMPARED", "changes", "check_same", "files_of", "name_of", "of_today"]

COMPARED = (*COMPONENTS, "training", "sampling", "evaluation")
"""The sections in which two configurations are compared."""

_MAY_CHANGE = {"steps", "start_from", "accumulate", "shard", "log_every", "checkpoint_every", "keep_checkpoints"}
_NOT_TRAINED = {"sampling", "evaluation"}


def changes(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The settings in which a configuration differs from that of a run, with what each was and is."""
    return [
        difference
        for section in COMPARED
        for difference in _differences(stored.get(section), given.get(section), section)
    ]


def of_today(stored: Mapping[str, Any], plugins: PluginManager) -> dict[str, Any]:
    """The configuration of a run with settings that are younger than it filled in, as if nobody had named them."""
    try:
        return read_config(qualified(stored, plugins), plugins, may_be_absent=SECTIONS).dump()
    except FlowkitError:  # of packages that are not here, or damaged: what is written there stands for itself
        return dict(stored)


def files_of(config: Config, *sections: str) -> dict[str, Path]:
    """The files of some sections, by setting."""
    return {where: path for kind in sections for where, path in _files(config.components[kind], kind)}


def _files(value: Any, where: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield where, value
    if isinstance(value, Choice):
        for name, setting in value.settings.items():
            yield from _files(setting, f"{where}.{name}")


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any], may_move: Collection[str] = ()) -> None:
    """Refuse to resume a run under a configuration that would have trained something else.

    Arguments:
        stored: That of the run.
        given: The one to go on with.
        may_move: Settings that may differ, as they say where something is.

    Raises:
        ConfigError: With every setting that differs and may not.
    """
    refused = [
        Problem(where, f"the run was started with {before!r} and cannot go on with {now!r}")
        for where, before, now in changes(stored, given)
        if where not in may_move
        and where.partition(".")[0] not in _NOT_TRAINED
        and where.removeprefix("training.") not in _MAY_CHANGE
    ]
    if refused:
        raise ConfigError(refused)


def _differences(before: Any, now: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The places at which two configurations differ, with what each has there."""
    of_one_sort = isinstance(before, Mapping) and isinstance(now, Mapping) and before.get("name") == now.get("name")
    if not of_one_sort:
        if before != now:
            yield where, name_of(before), name_of(now)
        return
    for key in {**before, **now}:
        yield from _differences(before.get(key), now.get(key), f"{where}.{key}")


def name_of(value: Any) -> Any:
    """The name of a component stands for it."""
    return value.get("name", value) if isinstance(value, Mapping) else value
