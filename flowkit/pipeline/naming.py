"""What components say of one another, in the words of the configuration that chose them."""

import re

from ..config.config import Config
from ..errors import ConfigError, FlowkitError
from ..plugins.registry import Registry

__all__ = ["named", "rename"]


def named(message: str, config: Config, registry: Registry) -> str:
    """A message in which classes are called what they are chosen by, such as `grid 'karras'` for `KarrasGrid`.

    Objects that were given as they are keep the names of their classes, which is what the user wrote.
    """
    names = {
        registry.load(choice.entry).__name__: f"{choice.kind} {choice.name!r}"
        for choice in config.choices()
        if choice.entry and choice.instance is None
    }
    return re.sub(r"(?<![.'])\b\w+\b(?!\()", lambda word: names.get(word[0], word[0]), message)


def rename(error: FlowkitError, config: Config, registry: Registry) -> None:
    """Put what a component says as it fails in the same words."""
    if not isinstance(error, ConfigError):
        error.args = (named(str(error), config, registry), *error.args[1:])
