"""The exponential moving average of the weights, which sampling uses."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["EMA"]


class EMA:
    """Averaged copies of parameters: average <- decay average + (1 - decay) parameter, after every step.

    Early on the decay is (1 + step) / (10 + step), so that the first weights are forgotten.

    Arguments:
        parameters: What is averaged.
        decay: The decay; 0 copies the parameters.
    """

    def __init__(self, parameters: Iterable[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after `step` steps."""
        torch._foreach_lerp_(self.averages, self.parameters, self.weight(step))

    def weight(self, step: int) -> float:
        """1 - decay: how much the averages move towards the parameters after `step` steps."""
        return 1 - min(self.decay, (1 + step) / (10 + step))
