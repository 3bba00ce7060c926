"""What training and sampling share of `torch.compile`."""

import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["NO_COMPILER", "cxx_compiler", "graph_options", "in_a_line"]

NO_COMPILER = (
    "needs a C++ compiler, and there is none: install g++ or clang, or name one in the environment variable CXX"
)
"""Why nothing can be compiled where there is none, with the name of a setting before it."""


def cxx_compiler() -> str | None:
    """Where the C++ compiler is, without which `torch.compile` makes no code for a CPU; None if there is none."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
    return next(filter(None, map(shutil.which, names)), None)


def graph_options(device: "torch.device") -> dict[str, Any]:
    """Options of `torch.compile` with which a CUDA device is given all the work of a call at once (CUDA graphs).

    A small network's kernels take less time than it takes to start them one by one. What such a call returns is
    overwritten by the next one.
    """
    return {"triton.cudagraphs": True} if device.type == "cuda" else {}


def in_a_line(error: Exception) -> str:
    """An error of the compiler, whose texts run over pages."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
