"""The method of Bogacki and Shampine."""

from .adaptive import Adaptive
from .runge_kutta import Tableau

__all__ = ["Bosh3"]


class Bosh3(Adaptive):
    """Order 3 with an estimate of order 2, three evaluations a step: for loose tolerances and rough fields.

    States between steps are on the cubic Hermite polynomial of both ends, which is of order 3 as well.

    Arguments:
        rtol: The error allowed in a step, relative to the state.
        atol: The error allowed in a step where the state is small.
        per_sample: Control each sample on its own; see `Adaptive`, whose settings these are.
        min_step: Stop with an error rather than take shorter steps.
        max_steps: Stop with an error rather than take more.

    References:
        Bogacki and Shampine 1989, A 3(2) pair of Runge-Kutta formulas, Applied Mathematics Letters 2 (4), 321-325.
    """

    order = 3
    tableau = Tableau(
        c=(0, 1 / 2, 3 / 4),
        a=((1 / 2,), (0, 3 / 4)),
        b=(2 / 9, 1 / 3, 4 / 9),
        error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    )
