"""What every loss must do: a regression whose minimum is the exact field."""

import copy
from typing import Any

import torch
from torch import Tensor

from ..interfaces.head import Head
from ..interfaces.predictor import Predictor
from ..interfaces.quantity import Quantity
from ..model import Model
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .reference import LIMIT, ExactNetwork, NormalField, ReferencePath, standard_error

__all__ = ["CHECKS"]

CHECKS = CheckList()


class _Head(Head):
    def __init__(self, *quantities: Quantity) -> None:
        self.quantities = quantities  # type: ignore[misc]


_HEADS = [(quantity,) for quantity in Quantity] + [(Quantity.VELOCITY, Quantity.SCORE)]


@CHECKS.add(hint="mean over the event's axes only, `.flatten(1).mean(1)`: the batch is averaged later")
def gives_a_loss_for_each_sample(subject: Subject) -> None:
    """The loss has the shape (batch,), is finite, and has the type of the data; for images too."""
    images = () if _has_exact_field(subject) else ((3, 4, 4),)
    for shape in (subject.event_shape, *images):
        for dtype in (torch.float64, torch.float32):
            model = _model(subject, NormalField())
            x0, z = (part.to(dtype) for part in _batch(64, shape))
            loss = subject.component(model, x0, z, None, seeded(3))
            require(loss.shape == (64,), f"the loss of 64 samples has shape {tuple(loss.shape)}")
            require(loss.dtype == dtype, f"the loss of {dtype} data is {loss.dtype}")
            require(bool(loss.isfinite().all()), f"{int((~loss.isfinite()).sum())} of 64 losses are not finite")


@CHECKS.add(hint="compute the prediction with gradients; only targets are detached")
def gradients_reach_the_network(subject: Subject) -> None:
    """The loss can be differentiated in the outputs of the network, and depends on them."""
    loss, offsets = _losses(subject, NormalField(mean=2.0), 64, NormalField())
    require(loss.requires_grad, "the loss carries no gradient")
    gradient = torch.autograd.grad(loss.sum(), offsets, allow_unused=True)[0]
    require(gradient is not None and bool((gradient != 0).any()), "the loss does not depend on the network's output")


@CHECKS.add(hint="compare prediction and target at the same x, t, x0 and z: a sign, a factor, or another quantity?")
def vanishes_for_a_perfect_prediction(subject: Subject) -> None:
    """For data that are one point, its field is known, and predicting it costs nothing."""
    point = NormalField(mean=1.0, std=0.0)
    perfect, _ = _losses(subject, point, 512, point)
    other, _ = _losses(subject, NormalField(mean=0.0, std=0.0), 512, point)
    cost, other_cost = float(perfect.detach().max()), float(other.detach().median())
    # Rounding of 1e-16 in x becomes 1e-12 in a score near the data, whose square is weighed: far below 1e-9.
    require(
        cost <= 1e-9 * other_cost,
        f"the exact field of a single data point costs up to {cost:.6g}; that of another point {other_cost:.6g} or so",
    )


@CHECKS.add(hint="the target must average to the marginal field given x_t, with a weight that depends on t alone")
def is_minimal_at_the_exact_field(subject: Subject) -> None:
    """At the exact field of Gaussian data, no linear change of the prediction lowers the loss; 5 standard errors."""
    field = NormalField()
    loss, offsets = _losses(subject, field, 40_000, field)
    for gradient in torch.autograd.grad(loss.sum(), offsets):
        mean, error = gradient.mean(0), standard_error(gradient)
        off = float(((mean - 0).abs() / error.clamp(min=1e-30)).max())
        require(
            off <= LIMIT,
            f"the gradient at the exact field is {off:.3g} standard errors from 0: training leads away from it",
        )


@CHECKS.add(hint="draw times and noise from the generator that is passed in")
def repeats_with_its_seed(subject: Subject) -> None:
    """The same generator gives the same losses, whatever the global one does."""
    model, (x0, z) = _model(subject, NormalField()), _batch(32, subject.event_shape)
    fresh = [copy.deepcopy(subject.component) for _ in range(2)]  # one that learns times is another after each call
    state = torch.random.get_rng_state()
    first, second = (loss(model, x0, z, None, seeded(3)).detach() for loss in fresh)
    require(torch.equal(state, torch.random.get_rng_state()), "it draws from the global generator of torch")
    require(torch.equal(first, second), "one seed gives two losses")


@CHECKS.add(hint="every row is a sample of its own: no statistics over the batch, no weights normalised over it")
def does_not_depend_on_the_batch(subject: Subject) -> None:
    """A sample's loss does not depend on the others in its batch."""
    model, (x0, z) = _model(subject, NormalField(mean=2.0)), _batch(32, subject.event_shape)
    first = copy.deepcopy(subject.component)(model, x0, z, None, seeded(3)).detach()
    x0, z = x0.clone(), z.clone()
    x0[1:], z[1:] = 3 * x0[1:].flip(0), 1 - z[1:]
    second = copy.deepcopy(subject.component)(model, x0, z, None, seeded(3)).detach()
    require_close(first[0], second[0], 1e-9, "the loss of a sample among others")


@CHECKS.add(hint="model.predict(x, t, y, ...) takes the condition")
def passes_the_condition_on(subject: Subject) -> None:
    """The network is given the condition."""
    model, (x0, z), y = _model(subject, NormalField()), _batch(8, subject.event_shape), torch.arange(8) % 2
    seen: list[Any] = []
    model.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[2]))
    subject.component(model, x0, z, y, seeded(3))
    reached = bool(seen) and isinstance(seen[0], Tensor) and torch.equal(seen[0], y)
    require(reached, "the condition y does not reach the network")


@CHECKS.add(hint="`state` and `restore` must hand on those of the times, and of whatever else learns")
def goes_on_from_its_state(subject: Subject) -> None:
    """After `restore`, the losses are those that follow where `state` was taken."""
    model, (x0, z) = _model(subject, NormalField(mean=2.0)), _batch(256, subject.event_shape)
    loss, other = subject.component, copy.deepcopy(subject.component)
    for seed in range(20):
        loss(model, x0, z, None, seeded(seed))
    other.restore({name: value.clone() for name, value in loss.state().items()})
    wanted, found = (one(model, x0, z, None, seeded(99)).detach() for one in (loss, other))
    require(torch.equal(wanted, found), "restored from its state, it gives other losses")


def _batch(n: int, shape: tuple[int, ...], field: NormalField | None = None) -> tuple[Tensor, Tensor]:
    """Draws of p_init, and of the data of a field."""
    field = field or NormalField()
    x0, noise = (torch.randn(n, *shape, generator=seeded(seed), dtype=torch.float64) for seed in (1, 2))
    return x0, field.mean + field.std * noise


def _model(subject: Subject, field: NormalField) -> Model:
    """A model that the loss can train, of the reference path or of that of the loss, and that predicts exact fields."""
    path = getattr(subject.component.exact, "path", None) or ReferencePath()
    problems: list[str] = []
    for quantities in _HEADS:
        model = Model(ExactNetwork(field, quantities), _Head(*quantities), path)
        if not (found := subject.component.problems(model)):
            return model
        problems = found
    raise NotApplicable(f"it trains no model of a Gaussian path: {'; '.join(problems)}")


def _losses(subject: Subject, predicted: NormalField, n: int, data: NormalField) -> tuple[Tensor, list[Tensor]]:
    """The losses of a model that predicts one field on data of another, and the numbers to differentiate them in."""
    if _has_exact_field(subject):
        raise NotApplicable("it has an exact field of its own, of data that are not known here")
    model, (x0, z) = _model(subject, predicted), _batch(n, subject.event_shape, data)
    loss = subject.component(model, x0, z, None, seeded(3))
    network: Any = model.network
    return loss, network.offsets


def _has_exact_field(subject: Subject) -> bool:
    return any(isinstance(part, Predictor) for part in vars(subject.component).values())
