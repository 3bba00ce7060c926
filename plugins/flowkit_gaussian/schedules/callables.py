"""A schedule from two functions."""

from collections.abc import Callable

from torch import Tensor

from flowkit import Schedule

__all__ = ["CallableSchedule"]


class CallableSchedule(Schedule):
    """Alpha and beta as two functions of t, for use in Python.

    Their derivatives come from forward-mode automatic differentiation, so both are made of differentiable torch
    functions and map tensors of any shape elementwise.

    Arguments:
        alpha: Grows to 1.
        beta: Falls to 0; alpha / beta grows strictly.

    Examples:
        >>> schedule = CallableSchedule(lambda t: t, lambda t: (1 - t) ** 2)
    """

    def __init__(self, alpha: Callable[[Tensor], Tensor], beta: Callable[[Tensor], Tensor]) -> None:
        self._alpha, self._beta = alpha, beta

    def alpha(self, t: Tensor) -> Tensor:
        """The first function."""
        return self._alpha(t)

    def beta(self, t: Tensor) -> Tensor:
        """The second function."""
        return self._beta(t)
