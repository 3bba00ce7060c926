"""What every guidance must do, tried on a smooth conditional model of the default path."""

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.predictor import Predictor
from .check import CheckList, NotApplicable, Subject, require, require_close
from .fields import (
    predictable,
    require_agreement_with_the_path,
    require_batch_independence,
    require_finite,
    require_one_time_or_many,
    require_order,
    require_shapes,
)
from .parts import ReferenceModel, reference_model

__all__ = ["CHECKS"]

CHECKS = CheckList()

LABELS = torch.tensor([0, 1, 2, 0])


@CHECKS.add(hint="a guided field has the shape and type of x; a doubled batch must be halved again")
def keeps_the_shape(subject: Subject) -> None:
    """Guided fields have the shape and type of x."""
    require_shapes(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="a ratio of norms or deviations needs an answer where the lower one is 0")
def is_finite_between_the_ends(subject: Subject) -> None:
    """Guided fields are finite for 0 < t < 1."""
    require_finite(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="`predict` returns one tensor for each of `wanted`, in the order of `wanted`")
def gives_fields_in_the_order_asked(subject: Subject) -> None:
    """Guided fields come in the order that they are asked for."""
    require_order(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="norms and projections are those of one sample: sum over all axes but the first")
def does_not_mix_the_batch(subject: Subject) -> None:
    """How a sample is guided depends on that sample alone."""
    require_batch_independence(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="a doubled batch needs doubled times where t has one for each sample")
def takes_one_time_or_many(subject: Subject) -> None:
    """A time as one number means the same as a time for each sample."""
    require_one_time_or_many(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="change one field and move the others by `path.slope`, so that ODE and SDE sample one model")
def fields_agree_with_the_path(subject: Subject) -> None:
    """The guided velocity and the guided score are those of one model."""
    require_agreement_with_the_path(_guided(subject), subject, _labels(subject))


@CHECKS.add(hint="wrap the model; do not change its attributes or hand back its own tensors changed in place")
def leaves_the_model_alone(subject: Subject) -> None:
    """The model that is guided stays as it was, and so do x, t and y."""
    model, x, y = _model(subject), subject.randn(4, 0), LABELS.clone()
    wanted = predictable(model)
    before = [field.clone() for field in model.predict(x, 0.4, y, wanted)]
    subject.component.guide(model).predict(x, 0.4, y if subject.component.needs_condition else None, wanted)
    require(torch.equal(x, subject.randn(4, 0)) and torch.equal(y, LABELS), "x or y has been changed in place")
    for quantity, field, was in zip(wanted, model.predict(x, 0.4, y, wanted), before, strict=True):
        require_close(field, was, 0.0, f"the model's own {quantity.value} after guiding")


@CHECKS.add(hint="`problems(model)` returns one sentence for each reason why that model cannot be guided, else []")
def says_what_it_cannot_guide(subject: Subject) -> None:
    """`problems` answers in sentences."""
    problems = subject.component.problems(reference_model(subject))
    words = isinstance(problems, list) and all(isinstance(text, str) and text.strip() for text in problems)
    require(words, f"problems(model) is {problems!r}, not a list of sentences")


@CHECKS.add(hint="say `needs_condition = True`, or leave samples without a condition as the model has them")
def says_whether_it_needs_a_condition(subject: Subject) -> None:
    """Where it says that it needs no condition, it works without one."""
    if subject.component.needs_condition:
        raise NotApplicable("it says that it needs a condition: without one, samplers leave it out")
    guided, x = _guided(subject), subject.randn(4, 0)
    try:
        fields = guided.predict(x, 0.4, None, predictable(guided))
    except UnsupportedError as error:
        raise AssertionError(f"needs_condition is False, and without y it refuses: {error}") from error
    require(all(bool(field.isfinite().all()) for field in fields), "without y its fields are not finite")


@CHECKS.add(hint="hand `can_predict` on to the model, and refuse what cannot be guided")
def keeps_what_the_model_predicts(subject: Subject) -> None:
    """A guided model still has the velocity that samplers ask for, and predicts what it says."""
    guided = _guided(subject)
    require(isinstance(guided, Predictor), f"guide(model) is a {type(guided).__name__}, not a Predictor")
    lost = [quantity.value for quantity in predictable(_model(subject)) if not guided.can_predict(quantity)]
    require(not lost, f"the model predicts the {' and the '.join(lost)}, and the guided one does not")


def _model(subject: Subject) -> ReferenceModel:
    model = reference_model(subject)
    if problems := subject.component.problems(model):
        raise NotApplicable(f"it does not guide a model of {type(model.path).__name__}: {problems[0]}")
    return model


def _guided(subject: Subject) -> Predictor:
    guided: Predictor = subject.component.guide(_model(subject))
    return guided


def _labels(subject: Subject) -> Tensor | None:
    return LABELS if subject.component.needs_condition else None
