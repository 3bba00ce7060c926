"""Several guidances, one on top of the other."""

from flowkit import Guidance, Predictor

__all__ = ["Chain"]


class Chain(Guidance):
    """The first guides the model, the second the model that the first has guided, and so on.

    Costs multiply where a guidance evaluates its model more than once.

    Arguments:
        guidances: From the inside to the outside.
    """

    def __init__(self, guidances: list[Guidance]) -> None:
        if not guidances:
            raise ValueError("guidances must name at least one")
        self.guidances = guidances
        self.needs_dropped_conditions = any(guidance.needs_dropped_conditions for guidance in guidances)
        self.needs_condition = any(guidance.needs_condition for guidance in guidances)

    def problems(self, model: Predictor) -> list[str]:
        """Those of each of them."""
        return [problem for guidance in self.guidances for problem in guidance.problems(model)]

    def guide(self, model: Predictor) -> Predictor:
        """The guided model."""
        for guidance in self.guidances:
            model = guidance.guide(model)
        return model
