"""Steering sampling, by the condition or otherwise."""

from abc import ABC, abstractmethod

from .predictor import Predictor

__all__ = ["Guidance"]


class Guidance(ABC):
    """Makes a guided predictor of a predictor."""

    needs_dropped_conditions = False
    """Whether the model must have trained with `training.condition_dropout` > 0."""

    needs_condition = True
    """Whether it steers by the condition y, and so leaves a model alone that is given none."""

    @property
    def uses_condition(self) -> bool:
        """Whether y steers any of it, so that it is not for data without conditions."""
        return self.needs_condition

    def problems(self, model: Predictor) -> list[str]:
        """Why it cannot guide that model; asked when a pipeline is built."""
        del model
        return []

    @abstractmethod
    def guide(self, model: Predictor) -> Predictor:
        """The predictor whose fields are steered."""
