"""Reading docstrings: their text, their sections, and what each argument means."""

import inspect
import re

__all__ = ["arguments_of", "first_paragraph", "sections_of"]

_HEADING = re.compile(r"(?m)^(Arguments|Args|Attributes|Examples?|Note|Raises|References|Returns|See also):\n(?=    )")
_ARGUMENT = re.compile(r"(?m)^    (\w+)(?: \([^)]*\))?:[ \n]+(.*(?:\n     .*)*)")


def sections_of(thing: object) -> dict[str, str]:
    """The docstring of a class or function: its text under `""`, and each section under its heading."""
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else thing.__doc__  # not that of a base
    text, *rest = _HEADING.split(inspect.cleandoc(own or ""))
    return {"": text.strip()} | dict(zip(rest[::2], map(str.rstrip, rest[1::2]), strict=True))


def arguments_of(cls: type) -> dict[str, str]:
    """Argument to what the docstring says of it under `Arguments:`, in one line.

    A class that says nothing of an argument leaves it to its bases.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        sections = sections_of(base)
        lines = sections.get("Arguments") or sections.get("Args", "")
        found |= {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(lines)}
    return found


def first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(sections_of(thing)[""].partition("\n\n")[0].split())
