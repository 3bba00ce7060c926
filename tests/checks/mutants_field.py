"""A right field, and one wrong in each way that a check of fields looks for."""

from checks.mutants_fields import (
    FirstTime,
    InOneOrder,
    Modest,
    Overflowing,
    OverTheBatch,
    Rotating,
    VelocityOnly,
    Widened,
    Wrapped,
)

import flowkit as fk


def exact():
    path = fk.create("path", "gaussian")
    return fk.create("field", "gaussian_mixture", path=path, means=[[-2, 0], [2, 1]], covariances=[0.5, 1.0])


RIGHT = [Wrapped(exact())]
MUTANTS = {
    "fields_have_the_shape_of_the_state": Widened(exact()),
    "is_finite_between_the_ends": Overflowing(exact()),
    "gives_fields_in_the_order_asked": InOneOrder(exact()),
    "does_not_mix_the_batch": OverTheBatch(exact()),
    "takes_one_time_or_many": FirstTime(exact()),
    "fields_agree_with_the_path": VelocityOnly(exact()),
    "predicts_what_it_says": Modest(exact()),
    "score_is_a_gradient": Rotating(exact()),
}
