r"""Velocity, score, noise, data and v of a Gaussian path: five linear views of one prediction.

With D = E[z|x] and N = E[x_0|x], each of them is linear in the pair (D, N):

    data = D,   noise = N,   score = -N / beta,   v = alpha N - beta D,   velocity = alpha' D + beta' N.

The given one, g_D D + g_N N, and the state x = alpha D + beta N are two equations for the pair. By Cramer's rule
the wanted one, w_D D + w_N N, is

    [(w_D g_N - w_N g_D) x + (alpha w_N - beta w_D) given] / determinant,   determinant = alpha g_N - beta g_D.

Where the determinant is 0 the given one says no more than x, and there are two cases:

- alpha = 0: x is noise and says nothing of z, so D = E[z], the `data_mean`, and N = x / beta;
- beta = 0: x is the data point and says nothing of the independent x_0, so D = x / alpha and N = E[x_0] = 0.

(For the velocity that is where both derivatives are 0; where one is infinite, it is not the velocity that tells.)
What these equations leave open is refused: the score where beta = 0, the velocity where a derivative is infinite, and
everything else from a velocity that is at rest between the two cases.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkit import Quantity, Schedule, Time, UnsupportedError, expand_time, holds_anywhere

__all__ = ["at_time", "convert", "refuse"]


def convert(
    schedule: Schedule,
    value: Tensor,
    x: Tensor,
    t: Time,
    given: Quantity,
    wanted: Quantity,
    data_mean: Tensor | float = 0.0,
) -> Tensor:
    """Turn one quantity into another under a schedule. See `Path.convert`; coefficients are computed in float64."""
    at = at_time(t)
    alpha, beta = at(schedule.alpha), at(schedule.beta)
    g_data, g_noise = _row(given, schedule, at)
    w_data, w_noise = _row(wanted, schedule, at)
    if wanted is Quantity.VELOCITY:
        refuse(_is_infinite(w_data) | _is_infinite(w_noise), wanted, "a derivative of the schedule is infinite")
    if wanted is Quantity.SCORE:
        refuse(beta == 0, wanted, "beta is 0")
    tiny, most = torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).max  # beyond them the state's numbers are 0 or inf
    determinant = alpha * g_noise - beta * g_data
    known = (abs(determinant) >= tiny) & (abs(determinant) < math.inf)
    is_noise = alpha < tiny
    refuse(_where(known, False, (alpha >= tiny) & (beta >= tiny)), wanted, f"the {given.value} says no more than x")
    determinant = _where(known, determinant, 1.0)
    of_x = _where(
        known,
        (w_data * g_noise - w_noise * g_data) / determinant,
        _where(is_noise, w_noise, w_data) / (alpha + beta),  # one of the two is 0 there
    )
    of_value = _where(known, (alpha * w_noise - beta * w_data) / determinant, 0.0)
    of_mean = _where(known, 0.0, _where(is_noise, w_data, 0.0))
    if given is Quantity.SCORE:
        of_value = of_value * -beta
    if wanted is Quantity.SCORE:
        of_x, of_value, of_mean = (weight / -beta for weight in (of_x, of_value, of_mean))
    too_large = (abs(of_x) > most) | (abs(of_value) > most)
    refuse(too_large, wanted, f"its coefficients are beyond the range of {x.dtype}")
    result = _for(x, of_x) * x + _for(x, of_value) * value
    return result + _for(x, of_mean) * data_mean if isinstance(of_mean, Tensor) or of_mean else result


def at_time(t: Time) -> Callable[[Callable[[Tensor], Tensor]], Any]:
    """Evaluates functions of the schedule in float64: to a float at one time, to shape (batch,) at a batch of them."""
    if isinstance(t, Tensor) and t.ndim:
        times = t if t.device.type == "mps" else t.double()  # Apple's accelerator has no float64
        return lambda function: function(times)
    time = torch.tensor(float(t), dtype=torch.float64)
    return lambda function: function(time).item()


def refuse(where: Tensor | bool, what: Quantity, reason: str) -> None:
    """Raise where a quantity is not determined, as far as `holds_anywhere` looks."""
    if holds_anywhere(where):
        raise UnsupportedError(f"the {what.value} is not determined at this time, where {reason}: stop short of it")


def _row(quantity: Quantity, schedule: Schedule, at: Callable[[Callable[[Tensor], Tensor]], Any]) -> tuple[Any, Any]:
    """The weights of D and N in a quantity; for the score, those of -beta times it."""
    if quantity is Quantity.DATA:
        return 1.0, 0.0
    if quantity is Quantity.V:
        return -at(schedule.beta), at(schedule.alpha)
    if quantity is Quantity.VELOCITY:
        return at(schedule.alpha_dot), at(schedule.beta_dot)
    return 0.0, 1.0


def _where(condition: Any, value: Any, otherwise: Any) -> Any:
    if isinstance(condition, Tensor):
        return torch.where(condition, value, otherwise)
    return value if condition else otherwise


def _is_infinite(value: Any) -> Any:
    return value.isinf() if isinstance(value, Tensor) else math.isinf(value)


def _for(x: Tensor, weight: Any) -> Any:
    return expand_time(weight, x) if isinstance(weight, Tensor) else weight
