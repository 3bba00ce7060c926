"""One process at a time in one place."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import ConfigError

if sys.platform != "win32":
    import fcntl

__all__ = ["exclusive", "is_held"]


@contextmanager
def exclusive(file: Path, doing: str) -> Iterator[None]:
    """Hold a file that no other process can hold meanwhile; the system lets go of it with the process.

    Where the file system or the platform knows no such locks, nothing is held.

    Arguments:
        file: Is made, and taken away at the end.
        doing: What is done meanwhile, for the other process to read: "training in runs/moons".

    Raises:
        ConfigError: Another process holds it.
    """
    held = _held(file, doing)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):
                file.unlink()
            held.close()


def is_held(file: Path) -> bool:
    """Whether another process, or another part of this one, holds a file, as far as the file system tells."""
    if sys.platform == "win32" or not file.is_file():
        return False
    try:
        with file.open(encoding="utf-8") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _held(file: Path, doing: str) -> IO[str] | None:
    if sys.platform == "win32":
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    looks = 3
    while True:
        opened = file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if looks := looks - 1:  # someone may only be looking whether it is held
                opened.close()
                time.sleep(0.05)
                continue
            opened.seek(0)
            holder = opened.read().strip() or "another process"
            opened.close()
            raise ConfigError(f"{holder} is {doing}: wait for it, or choose another place") from None
        except OSError:
            opened.close()
            return None
        if _is(opened, file):  # else whoever held it has taken it away in between
            opened.truncate(0)
            opened.write(f"process {os.getpid()} on {socket.gethostname()}")
            opened.flush()
            return opened
        opened.close()


def _is(opened: IO[str], file: Path) -> bool:
    """Whether an open file is still the one of that name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(opened.fileno()), file.stat())
    return False
