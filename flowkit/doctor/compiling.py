"""Whether torch.compile works here."""

import subprocess
import sys
from collections.abc import Iterator

from ..compiler import cxx_compiler
from .finding import Finding, note, ok, problem

__all__ = ["compiler", "try_compiling"]

_CODE = """
import time, torch
f = torch.compile(lambda x: torch.nn.functional.silu(x) * 2)
x = torch.ones(64, device="cuda" if torch.cuda.is_available() else "cpu")
start = time.perf_counter()
assert torch.allclose(f(x), torch.nn.functional.silu(x) * 2)
print(f"{time.perf_counter() - start:.0f}")
"""
_ADVICE = "install one: apt install g++, or xcode-select --install, or the Build Tools of Visual Studio"


def compiler() -> Iterator[Finding]:
    """The C++ compiler that torch.compile calls."""
    found = cxx_compiler()
    if found is None:
        yield note("torch.compile", "no C++ compiler was found, and it needs one on the CPU", _ADVICE)
    else:
        yield ok("torch.compile", f"the compiler {found} was found (flowkit doctor --compile tries it)")


def try_compiling(limit: float = 120) -> Iterator[Finding]:
    """Compile a small function in a process of its own.

    Arguments:
        limit: Seconds after which it counts as stuck.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        yield problem("torch.compile", f"a small function was not compiled in {limit:.0f} s", "train without compiling")
        return
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if "Error" in line]
        reason = lines[-1] if lines else f"it ended with code {done.returncode}"
        yield problem("torch.compile", f"a small function cannot be compiled: {reason}", _ADVICE)
        return
    yield ok("torch.compile", f"compiled a small function in {done.stdout.strip()} s")
