"""A right guidance, and one wrong in each way that a check of guidance looks for."""

from checks.mutants_fields import (
    FirstTime,
    InOneOrder,
    Modest,
    Overflowing,
    OverTheBatch,
    VelocityOnly,
    Widened,
    Wrapped,
)

from flowkit import Guidance, UnsupportedError


class Right(Guidance):
    """No guidance."""

    wrapped = Wrapped

    def guide(self, model):
        return self.wrapped(model)


class Free(Right):
    """No guidance, and no condition."""

    needs_condition = False


def mutant(wrapped):
    return type(wrapped.__name__, (Right,), {"wrapped": wrapped})()


class Shy(Free):
    class wrapped(Wrapped):  # noqa: N801
        def predict(self, x, t, y, wanted):
            if y is None:
                raise UnsupportedError("needs a condition")
            return super().predict(x, t, y, wanted)


class InPlace(Right):
    class wrapped(Wrapped):  # noqa: N801
        def predict(self, x, t, y, wanted):
            x.mul_(2)
            return super().predict(x, t, y, wanted)


class OneSentence(Right):
    def problems(self, model):
        return ""


RIGHT = [Right(), Free()]
MUTANTS = {
    "keeps_the_shape": mutant(Widened),
    "is_finite_between_the_ends": mutant(Overflowing),
    "gives_fields_in_the_order_asked": mutant(InOneOrder),
    "does_not_mix_the_batch": mutant(OverTheBatch),
    "takes_one_time_or_many": mutant(FirstTime),
    "fields_agree_with_the_path": mutant(VelocityOnly),
    "leaves_the_model_alone": InPlace(),
    "says_what_it_cannot_guide": OneSentence(),
    "says_whether_it_needs_a_condition": Shy(),
    "keeps_what_the_model_predicts": mutant(Modest),
}
