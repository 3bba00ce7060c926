"""What every field must do."""

import torch

from ..interfaces.predictor import Predictor
from ..interfaces.quantity import Quantity
from .check import CheckList, NotApplicable, Subject, require, require_close
from .fields import (
    ROUNDING,
    TIMES,
    precision_of,
    require_agreement_with_the_path,
    require_batch_independence,
    require_finite,
    require_one_time_or_many,
    require_order,
    require_shapes,
)

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="compute as precisely as you like, and return `.reshape(x.shape).to(x.dtype)`")
def fields_have_the_shape_of_the_state(subject: Subject) -> None:
    """Every field that it says it predicts has the shape and type of x."""
    require_shapes(subject.component, subject, None)


@CHECKS.add(hint="divide by beta_t only where it is not small, and take log-sum-exp instead of logs of sums")
def is_finite_between_the_ends(subject: Subject) -> None:
    """Every field is finite for 0 < t < 1."""
    require_finite(subject.component, subject, None)


@CHECKS.add(hint="`predict` returns one tensor for each of `wanted`, in the order of `wanted`")
def gives_fields_in_the_order_asked(subject: Subject) -> None:
    """Fields come in the order that they are asked for."""
    require_order(subject.component, subject, None)


@CHECKS.add(hint="keep the batch axis apart: a mean or a softmax takes in another sample")
def does_not_mix_the_batch(subject: Subject) -> None:
    """What becomes of a sample depends on that sample alone."""
    require_batch_independence(subject.component, subject, None)


@CHECKS.add(hint="take both: `flowkit.batch_times(t, x)` makes a tensor of either")
def takes_one_time_or_many(subject: Subject) -> None:
    """A time as one number means the same as a time for each sample."""
    require_one_time_or_many(subject.component, subject, None)


@CHECKS.add(hint="compute one field and convert the others with the path")
def fields_agree_with_the_path(subject: Subject) -> None:
    """Its fields are related as its path relates them."""
    require_agreement_with_the_path(subject.component, subject, None)


@CHECKS.add(hint="raise UnsupportedError in `predict` exactly where `can_predict` says False")
def predicts_what_it_says(subject: Subject) -> None:
    """It can predict the velocity, or something else that samplers are made of, and says so."""
    field: Predictor = subject.component
    for quantity in field.quantities:
        require(field.can_predict(quantity), f"its `quantities` name the {quantity.value}, and can_predict says False")
    for quantity in Quantity:
        if field.can_predict(quantity):
            continue
        try:
            field.predict(subject.randn(2, 0, precision_of(field, subject, None)), 0.4, None, (quantity,))
        except Exception:
            continue
        raise AssertionError(f"can_predict says False for the {quantity.value}, and it predicts it")


@CHECKS.add(hint="a wrong factor, or a term that is no part of the score; of a network this is to be expected")
def score_is_a_gradient(subject: Subject) -> None:
    """The Jacobian of the score is symmetric, as that of grad log p is."""
    field: Predictor = subject.component
    if not field.can_predict(Quantity.SCORE):
        raise NotApplicable("it predicts no score")
    x = subject.randn(1, 0, precision_of(field, subject, None))
    if x.numel() > 16:
        raise NotApplicable(f"a Jacobian of {x.numel()} dimensions takes too long")
    for t in TIMES:
        try:
            jacobian = torch.autograd.functional.jacobian(lambda x, t=t: field.score(x, t), x)
        except RuntimeError as error:
            raise AssertionError(f"its score is not differentiable in x: {error}") from error
        matrix = jacobian.reshape(x.numel(), x.numel())
        size = matrix.abs().max().clamp(min=1e-12)
        require_close(
            matrix.T / size, matrix / size, 100 * ROUNDING[x.dtype], f"the Jacobian of the score at t = {t}, transposed"
        )
