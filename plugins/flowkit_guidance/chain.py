"""Several guidances, one on top of the other."""

from torch import Tensor

from flowkit import Condition, Guidance, Predictor, Quantity, Time

from .guided import Fields, Guided

__all__ = ["Chain"]


class Chain(Guidance):
    """The first guides the model, the second the model that the first has guided, and so on.

    Without a condition, those of them that need one leave the model alone, and the others guide it. Costs multiply
    where a guidance evaluates its model more than once.

    Arguments:
        guidances: From the inside to the outside.
    """

    def __init__(self, guidances: list[Guidance]) -> None:
        if not guidances:
            raise ValueError("guidances must name at least one")
        self.guidances = guidances
        self.needs_dropped_conditions = any(guidance.needs_dropped_conditions for guidance in guidances)
        self.needs_condition = all(guidance.needs_condition for guidance in guidances)

    @property
    def uses_condition(self) -> bool:
        """Whether any of them does."""
        return any(guidance.uses_condition for guidance in self.guidances)

    def problems(self, model: Predictor) -> list[str]:
        """Those of each of them."""
        return [problem for guidance in self.guidances for problem in guidance.problems(model)]

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        for guidance in self.guidances:
            guided = guidance.guide(model)
            model = _WithCondition(model, guided) if guidance.needs_condition else guided
        return model


class _WithCondition(Guided):
    """A model that is guided only where there is a condition."""

    def __init__(self, model: Predictor, guided: Predictor) -> None:
        super().__init__(model)
        self.guided = guided

    def can_predict(self, wanted: Quantity) -> bool:
        return self.model.can_predict(wanted) and self.guided.can_predict(wanted)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> Fields:
        return (self.model if y is None else self.guided).predict(x, t, y, wanted)
