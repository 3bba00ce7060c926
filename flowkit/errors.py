"""What flowkit raises: one family, each member with the exit code that the command line returns for it."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FlowkitError",
    "FlowkitWarning",
    "Gathered",
    "PluginError",
    "Problem",
    "RunExistsError",
    "TrainingError",
    "TrainingInterrupted",
    "UnknownComponentError",
    "UnsupportedError",
    "did_you_mean",
    "require_object",
]


class FlowkitError(Exception):
    """Anything that flowkit refuses or fails at; its text is written for the person who reads it."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where (`network.width`), what, and what is allowed."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(FlowkitError):
    """A configuration that cannot be meant. It carries all of its problems, not the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Gathered:
    """Lets several steps fail before anything is raised, so that a person sees every problem at once."""

    def __init__(self) -> None:
        self.errors: list[FlowkitError] = []

    def attempt(self, where: str, make: Callable[..., Any], *arguments: Any) -> Any:
        """What `make(*arguments)` returns; or None, and a note of why it failed."""
        try:
            return make(*arguments)
        except (ConfigError, DataError, PluginError) as error:
            self.errors.append(error if isinstance(error, ConfigError) else _placed(error, where))
            return None

    def raise_any(self) -> None:
        """Raise what was gathered: one error as it is, several as a `ConfigError` of all their problems."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ConfigError(
                [
                    problem
                    for error in self.errors
                    for problem in (error.problems if isinstance(error, ConfigError) else (Problem("", str(error)),))
                ]
            )


def _placed(error: FlowkitError, where: str) -> FlowkitError:
    placed = type(error)(f"{where}: {error}")
    placed.__cause__ = error
    return placed


class UnknownComponentError(ConfigError):
    """A component name that no installed plugin provides, or that several claim."""


class PluginError(FlowkitError):
    """A plugin that does not load, or a component that does not do what its kind asks."""


class DataError(FlowkitError):
    """A data file or folder that cannot be used; the message names the file and the row."""

    exit_code = 2


class RunExistsError(FlowkitError):
    """A run folder that already holds a run, which is never overwritten unasked."""

    exit_code = 2


class CheckpointError(FlowkitError):
    """A run folder or checkpoint that cannot be loaded."""


class TrainingError(FlowkitError):
    """Training that cannot go on, such as a loss that is no longer a number."""


class TrainingInterrupted(FlowkitError):
    """Training stopped by a signal, after its checkpoint was written. Exit code 128 + signal number."""

    def __init__(self, message: str, signal_number: int) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)


class FlowkitWarning(UserWarning):
    """Something that went on in another way than was asked; its text is written for the person who reads it."""


class UnsupportedError(FlowkitError):
    """Something a component cannot give: the score of a path that has none, say."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A suggestion of the nearest name, ` (did you mean 'heun'?)`, or nothing where none is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def require_object(kind: str, value: object, interface: type) -> None:
    """Refuse a name where a piece that works without a pipeline takes a component.

    Raises:
        UnsupportedError: `value` is no object of the interface.
    """
    if not isinstance(value, interface):
        raise UnsupportedError(f"{kind} takes an object, as from fk.create({kind!r}, ...); got {value!r}")
