"""What every diffusion coefficient must do. That any of them keeps the marginals is up to the SDE."""

import math

from .check import CheckList, Subject, require
from .reference import path_for

__all__ = ["CHECKS"]

CHECKS = CheckList()

_TIMES = (0.0, 1e-6, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1 - 1e-6)


@CHECKS.add(hint="return a Python number, not a tensor: float(...)")
def is_a_number(subject: Subject) -> None:
    """sigma_t is a float."""
    found = subject.component.sigma(0.5, path_for(subject))
    require(isinstance(found, (float, int)), f"sigma at t = 0.5 is a {type(found).__name__}")


@CHECKS.add(hint="sigma_t is a deviation, the root of a variance")
def is_nowhere_negative(subject: Subject) -> None:
    """sigma_t >= 0."""
    path = path_for(subject)
    for t in _TIMES:
        sigma = subject.component.sigma(t, path)
        require(not sigma < 0, f"sigma at t = {t:g} is {float(sigma):.6g}")


@CHECKS.add(hint="bound it where its formula diverges: every coefficient keeps the marginals, so a bounded one does")
def is_finite_before_the_end(subject: Subject) -> None:
    """sigma_t is finite on [0, 1)."""
    path = path_for(subject)
    for t in _TIMES:
        sigma = subject.component.sigma(t, path)
        require(math.isfinite(sigma), f"sigma at t = {t:g} is {float(sigma)}")


@CHECKS.add(hint="sigma_t is a coefficient: the integrator draws the noise that it multiplies")
def draws_nothing(subject: Subject) -> None:
    """The same time gives the same sigma_t."""
    path = path_for(subject)
    for t in _TIMES:
        first, second = (float(subject.component.sigma(t, path)) for _ in range(2))
        require(first == second, f"sigma at t = {t:g} is {first:.6g}, and asked again {second:.6g}")
