"""The method of Dormand and Prince."""

from .adaptive import Adaptive
from .runge_kutta import Tableau

__all__ = ["Dopri5"]


class Dopri5(Adaptive):
    """Order 5 with an estimate of order 4, six evaluations a step: for accurate solutions and densities.

    States between steps are on a polynomial of order 4.

    Arguments:
        rtol: The error allowed in a step, relative to the state.
        atol: The error allowed in a step where the state is small.
        per_sample: Control each sample on its own; see `Adaptive`, whose settings these are.
        min_step: Stop with an error rather than take shorter steps.
        max_steps: Stop with an error rather than take more.

    References:
        Dormand and Prince 1980, A family of embedded Runge-Kutta formulae, Journal of Computational and Applied
        Mathematics 6 (1), 19-26, table 2.
        Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I, section II.6 (dense output).
    """

    order = 5
    tableau = Tableau(
        c=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1),
        a=(
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        ),
        b=(35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        error=(71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        dense=(
            -12715105075 / 11282082432,
            0,
            87487479700 / 32700410799,
            -10690763975 / 1880347072,
            701980252875 / 199316789632,
            -1453857185 / 822651844,
            69997945 / 29380423,
        ),
    )
