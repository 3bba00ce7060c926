"""The C++ compiler, without which `torch.compile` makes no code for a CPU."""

import os
import shutil

__all__ = ["NO_COMPILER", "cxx_compiler"]

NO_COMPILER = (
    "needs a C++ compiler, and there is none: install g++ or clang, or name one in the environment variable CXX"
)
"""Why nothing can be compiled where there is none, with the name of a setting before it."""


def cxx_compiler() -> str | None:
    """Where it is; None if there is none."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
    return next(filter(None, map(shutil.which, names)), None)
