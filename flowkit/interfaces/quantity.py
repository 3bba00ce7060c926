"""The fields that a model may predict and a path may know."""

from collections.abc import Iterable
from enum import Enum

from ..errors import UnsupportedError

__all__ = ["Quantity", "as_quantities"]


class Quantity(Enum):
    """What a value at (x, t) means. For a Gaussian path x = alpha_t z + beta_t eps, given x and t,
    any one of them determines the others.
    """

    VELOCITY = "velocity"
    """u_t(x), the drift of the sampling ODE."""
    SCORE = "score"
    """s_t(x) = grad log p_t(x)."""
    NOISE = "noise"
    """E[eps | x_t = x], the mean of the noise."""
    DATA = "data"
    """E[z | x_t = x], the posterior mean of the data point (the denoiser)."""
    V = "v"
    """alpha_t E[eps | x_t = x] - beta_t E[z | x_t = x], the "v" of Salimans and Ho 2022."""


def as_quantities(wanted: "Iterable[Quantity | str] | Quantity | str") -> tuple[Quantity, ...]:
    """One quantity or several, also by their names, such as "data".

    Raises:
        UnsupportedError: There is no quantity of that name.
    """
    given = (wanted,) if isinstance(wanted, (Quantity, str)) else wanted
    try:
        return tuple(one if isinstance(one, Quantity) else Quantity(one) for one in given)
    except ValueError as error:
        names = ", ".join(quantity.value for quantity in Quantity)
        raise UnsupportedError(f"{error}: take one of {names}") from None
