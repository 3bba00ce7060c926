"""Heun's method."""

from .runge_kutta import RungeKutta, Tableau

__all__ = ["Heun"]


class Heun(RungeKutta):
    """A step of Euler, then the mean of the slopes at both ends (the explicit trapezoid rule).

    References:
        Karras et al. 2022, Elucidating the Design Space, algorithm 1. https://arxiv.org/abs/2206.00364
    """

    order = 2
    evaluates_end = True
    tableau = Tableau(c=(0, 1), a=((1,),), b=(1 / 2, 1 / 2))
