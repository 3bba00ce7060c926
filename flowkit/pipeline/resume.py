"""Whether a run may go on under a configuration."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..config.config import COMPONENTS
from ..config.sections import TrainingSettings
from ..errors import ConfigError, Problem

__all__ = ["changes", "check_same"]

_MAY_CHANGE = {"steps", "accumulate", "shard", "log_every", "checkpoint_every", "keep_checkpoints"}
_NOT_TRAINED = {"sampling", "evaluation"}


def changes(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The settings in which a configuration differs from that of a run, with what each was and is."""
    # Settings that are younger than the run are as they would be if nobody had named them.
    defaults = TrainingSettings.model_validate({}).model_dump(mode="json")
    stored = dict(stored) | {"training": defaults | dict(stored.get("training") or {})}
    return [
        difference
        for section in (*COMPONENTS, "training", "sampling", "evaluation")
        for difference in _differences(stored.get(section), given.get(section), section)
    ]


def check_same(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to resume a run under a configuration that would have trained something else.

    Raises:
        ConfigError: With every setting that differs and may not.
    """
    refused = [
        Problem(where, f"the run was started with {before!r} and cannot go on with {now!r}")
        for where, before, now in changes(stored, given)
        if where.partition(".")[0] not in _NOT_TRAINED and where.removeprefix("training.") not in _MAY_CHANGE
    ]
    if refused:
        raise ConfigError(refused)


def _differences(before: Any, now: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The places at which two configurations differ, with what each has there."""
    of_one_sort = isinstance(before, Mapping) and isinstance(now, Mapping) and before.get("name") == now.get("name")
    if not of_one_sort:
        if before != now:
            yield where, _short(before), _short(now)
        return
    for key in {**before, **now}:
        yield from _differences(before.get(key), now.get(key), f"{where}.{key}")


def _short(value: Any) -> Any:
    """The name of a component stands for it."""
    return value.get("name", value) if isinstance(value, Mapping) else value
