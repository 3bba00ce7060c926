"""The explicit midpoint method."""

from .runge_kutta import RungeKutta, Tableau

__all__ = ["Midpoint"]


class Midpoint(RungeKutta):
    """A half step of Euler, then a whole step with the slope found there. Never evaluates at the end."""

    order = 2
    tableau = Tableau(c=(0, 1 / 2), a=((1 / 2,),), b=(0, 1))
