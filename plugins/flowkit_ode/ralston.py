"""Ralston's method."""

from .runge_kutta import RungeKutta, Tableau

__all__ = ["Ralston"]


class Ralston(RungeKutta):
    """The two-slope method with the least bound on its error; its second slope is two thirds into the step.

    Never evaluates at the end.

    References:
        Ralston 1962, Runge-Kutta Methods with Minimum Error Bounds, Mathematics of Computation 16, section 3.
    """

    order = 2
    tableau = Tableau(c=(0, 2 / 3), a=((2 / 3,),), b=(1 / 4, 3 / 4))
