"""Steering sampling by the condition."""

from abc import ABC, abstractmethod

from .predictor import Predictor

__all__ = ["Guidance"]


class Guidance(ABC):
    """Makes a guided predictor of a predictor."""

    needs_dropped_conditions = False
    """Whether the model must have trained with `training.condition_dropout` > 0."""

    @abstractmethod
    def guide(self, model: Predictor) -> Predictor:
        """The predictor whose fields are steered."""
