"""What every head must do: name what the network says, sample by sample."""

import torch
from torch import Tensor, nn

from ..conditions import Condition
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from ..shapes import expand_time
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded
from .reference import DTYPES, path_for

__all__ = ["CHECKS"]

CHECKS = CheckList()


class _Network(nn.Module):
    """A smooth function of the state, the time and the condition, with a scale of its own for every output."""

    def __init__(self, outputs: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.linspace(0.5, 1.5, outputs, dtype=dtype))
        self.asked: list[tuple[Tensor, Tensor, Condition]] = []

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        self.asked.append((x, t, y))
        return torch.cat([scale * torch.tanh(x + expand_time(t, x)) for scale in self.scales], dim=1)


@CHECKS.add(hint="`outputs` is how many event-shaped outputs the network has: len(quantities), unless you need more")
def predicts_every_quantity_it_names(subject: Subject) -> None:
    """`predict` gives one tensor of the shape of x for each of `quantities`, and nothing else."""
    head, path = subject.component, path_for(subject)
    require(len(head.quantities) > 0, "it names no quantity")
    for shape in ((2,), (3, 4, 4)):
        x, t = _states(shape)
        found = head.predict(_Network(head.outputs), x, t, None, path)
        require(
            set(found) == set(head.quantities),
            f"it names {_names(head.quantities)}, and predicts {_names(tuple(found))}",
        )
        for quantity, value in found.items():
            require(
                value.shape == x.shape, f"the {quantity.value} has shape {tuple(value.shape)} for x {tuple(x.shape)}"
            )


@CHECKS.add(hint="call network(x, t, y) with x of shape (batch, *event) and t of shape (batch,), and pass y on")
def asks_the_network_once_with_the_condition(subject: Subject) -> None:
    """The network is called once, with a state, a time for each sample, and the condition."""
    head, (x, t), y = subject.component, _states((2,)), torch.arange(6)
    network = _Network(head.outputs)
    head.predict(network, x, t, y, path_for(subject))
    require(len(network.asked) == 1, f"one prediction calls the network {len(network.asked)} times")
    state, time, condition = network.asked[0]
    require(state.shape == x.shape and time.shape == t.shape, "the network is given another shape of x or t")
    require(isinstance(condition, Tensor) and torch.equal(condition, y), "the condition does not reach the network")


@CHECKS.add(hint="every row is a sample of its own: no statistics over the batch")
def does_not_depend_on_the_batch(subject: Subject) -> None:
    """A prediction is the same alone and in a batch."""
    head, path, (x, t) = subject.component, path_for(subject), _states((2,))
    network = _Network(head.outputs)
    for quantity, together in head.predict(network, x, t, None, path).items():
        alone = head.predict(network, x[2:3], t[2:3], None, path)[quantity]
        require_close(together[2:3], alone, 1e-9, f"the {quantity.value} in a batch against that alone")


@CHECKS.add(hint="no detach, no no_grad, and every output must count")
def gradients_reach_every_output(subject: Subject) -> None:
    """Every output of the network gets a gradient."""
    head, (x, t) = subject.component, _states((2,))
    network = _Network(head.outputs)
    found = head.predict(network, x, t, None, path_for(subject))
    require(all(value.requires_grad for value in found.values()), "a prediction carries no gradient to the network")
    (gradient,) = torch.autograd.grad(sum(value.square().sum() for value in found.values()), network.scales)
    require(
        bool((gradient != 0).all()), f"outputs {(gradient == 0).nonzero().flatten().tolist()} of the network get none"
    )


@CHECKS.add(hint="the outputs stand side by side on the first event axis in the order of `quantities`")
def each_quantity_is_its_own_output(subject: Subject) -> None:
    """With an output for each quantity, the first quantity is made of the first output, and so on."""
    head, (x, t) = subject.component, _states((2,))
    if not 1 < head.outputs == len(head.quantities):
        raise NotApplicable("it has one output, or not one for each quantity")
    network = _Network(head.outputs)
    found = head.predict(network, x, t, None, path_for(subject))
    for i, quantity in enumerate(head.quantities):
        (gradient,) = torch.autograd.grad(found[quantity].square().sum(), network.scales, retain_graph=True)
        used = gradient.nonzero().flatten().tolist()
        require(used == [i], f"the {quantity.value}, number {i} of its quantities, is made of the outputs {used}")


@CHECKS.add(hint="cast coefficients to the type of x: expand_time does")
def keeps_the_type_of_x(subject: Subject) -> None:
    """float64, float32 and bfloat16 states give finite predictions of that type, at both ends too."""
    head, path = subject.component, path_for(subject)
    for dtype in DTYPES:
        x, t = (part.to(dtype) for part in _states((2,)))
        t[0], t[-1] = 0, 1
        for quantity, value in head.predict(_Network(head.outputs, dtype), x, t, None, path).items():
            require(value.dtype == dtype, f"the {quantity.value} of a {dtype} state is {value.dtype}")
            require(bool(value.isfinite().all()), f"the {quantity.value} in {dtype} is not finite between t = 0 and 1")


@CHECKS.add(hint="what depends on the head's settings alone belongs into the constructor")
def keeps_nothing_between_calls(subject: Subject) -> None:
    """The same call gives the same prediction."""
    head, path, (x, t) = subject.component, path_for(subject), _states((2,))
    network = _Network(head.outputs)
    first = _flat(head, network, x, t, path)
    _flat(head, network, 3 * x, 1 - t, path)
    require_close(_flat(head, network, x, t, path), first, 1e-12, "the second time")


def _states(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    x = torch.randn(6, *shape, generator=seeded(1), dtype=torch.float64)
    return x, torch.linspace(0.1, 0.9, 6, dtype=torch.float64)


def _flat(head: object, network: nn.Module, x: Tensor, t: Tensor, path: Path) -> Tensor:
    found = head.predict(network, x, t, None, path)  # type: ignore[attr-defined]
    return torch.cat([found[quantity] for quantity in sorted(found, key=lambda quantity: quantity.value)], dim=1)


def _names(quantities: tuple[Quantity, ...]) -> str:
    return " and ".join(quantity.value for quantity in quantities) or "nothing"
