"""A console that may be lost: the reader of a pipe goes, a terminal closes, a disk is full."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console

__all__ = ["lasting_console"]


def lasting_console(**options: Any) -> Console:
    """A console on the standard output that goes on in silence when nothing can be written there any more.

    Arguments:
        options: Those of `rich.console.Console`.
    """
    return Console(file=_Lasting(sys.stdout), **options)  # type: ignore[arg-type]


class _Lasting:
    """A stream whose failures to write end what is written, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        """Send what is still to come, and what the interpreter flushes when it exits, nowhere."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
