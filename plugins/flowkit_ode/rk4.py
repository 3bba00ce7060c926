"""The classical Runge-Kutta method."""

from .runge_kutta import RungeKutta, Tableau

__all__ = ["RK4"]


class RK4(RungeKutta):
    """Four slopes, weighted 1, 2, 2, 1."""

    order = 4
    evaluates_end = True
    tableau = Tableau(
        c=(0, 1 / 2, 1 / 2, 1),
        a=((1 / 2,), (0, 1 / 2), (0, 0, 1)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    )
