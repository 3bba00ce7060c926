"""The parts that checks put beside a component: a path, a model, labelled points, a state of training."""

from pathlib import Path as Folder
from typing import Any

import torch
from torch import Tensor, nn

from ..batch import Batch
from ..conditions import Condition
from ..config.choice import build
from ..config.resolve import Resolver
from ..interfaces.callback import TrainingState
from ..interfaces.head import Head
from ..interfaces.path import Path
from ..interfaces.predictor import Predictor
from ..interfaces.quantity import Quantity
from ..model import Model
from ..shapes import Time, batch_times, expand_time
from .check import NotApplicable, Subject, seeded

__all__ = [
    "ReferenceModel",
    "StraightPath",
    "TinyNetwork",
    "VelocityHead",
    "callback_state",
    "default_path",
    "labelled",
    "labels",
    "model_for",
    "reference_model",
    "stirred",
]


def default_path(subject: Subject) -> Path:
    """The path that is taken where a configuration names none.

    Raises:
        NotApplicable: No plugin provides one.
    """
    path: Path = _default("path", subject)
    return path


def _default(kind: str, subject: Subject) -> Any:
    entry = subject.registry.default(kind)
    if entry is None:
        raise NotApplicable(f"this needs a {kind} beside it, and no plugin that is loaded provides a default one")
    resolver = Resolver(subject.registry)
    return build(resolver.choice(kind, entry.qualified, kind), subject.registry, kind)


class ReferenceModel(Predictor):
    r"""A smooth conditional model, $D = \tanh(x + y) (1 + t) / 2$, and the other fields as the path has them of D.

    Without a label, y counts as -1.

    Arguments:
        path: The path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The posterior mean of the data."""
        return (Quantity.DATA,)

    def can_predict(self, wanted: Quantity) -> bool:
        """What the path makes of it."""
        return self.path.can_convert(Quantity.DATA, wanted)

    def predict(self, x: Tensor, t: Time, y: Condition, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """Several fields at (x, t)."""
        label = y if isinstance(y, Tensor) else torch.full((len(x),), -1, device=x.device)
        data = torch.tanh(x + expand_time(label.to(x.dtype), x)) * (1 + expand_time(batch_times(t, x), x)) / 2
        return tuple(self.path.convert(data, x, t, Quantity.DATA, quantity) for quantity in wanted)


def reference_model(subject: Subject) -> ReferenceModel:
    """A model of the default path.

    Raises:
        NotApplicable: That path does not turn data predictions into velocities.
    """
    path = default_path(subject)
    if not path.can_convert(Quantity.DATA, Quantity.VELOCITY):
        raise NotApplicable(f"this needs a path that turns data predictions into velocities; got {type(path).__name__}")
    return ReferenceModel(path)


class VelocityHead(Head):
    """The output is the velocity."""

    quantities = (Quantity.VELOCITY,)


class StraightPath(Path):
    """x_t = t z + (1 - t) x0."""

    def sample(self, x0: Tensor, z: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A point on the line."""
        del generator
        return expand_time(t, z) * z + expand_time(1 - t, x0) * x0

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """The direction of the line, z - x0."""
        del x, t
        return z - x0


class TinyNetwork(nn.Module):
    """A multiple of x for each output.

    Arguments:
        outputs: How many.
    """

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.linspace(0.5, 1.0, outputs))

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """Shape (batch, outputs * event[0], *event[1:])."""
        return torch.cat([(factor * x).to(x.dtype) for factor in self.factors], dim=1)


def model_for(loss: Any, subject: Subject) -> Model:
    """A small model that a loss can train: its head is the first of all that the loss accepts."""
    path, refusals = default_path(subject), []
    for entry in subject.registry.of_kind("head"):
        head = subject.registry.load(entry)()
        model = Model(TinyNetwork(head.outputs), head, path)
        refusals = [*head.problems(path), *loss.problems(model)]
        if not refusals:
            return model
    raise NotApplicable(f"no head that is installed goes with it: {'; '.join(refusals) or 'there is none'}")


def callback_state(folder: Folder) -> TrainingState:
    """Training in its second step."""
    model = Model(TinyNetwork(), VelocityHead(), StraightPath())
    return TrainingState(model, folder, step=2, steps=10, losses=[1.0, 0.5], steps_per_second=10.0, learning_rate=0.1)


def labels(n: int, num_classes: int | None) -> Tensor | None:
    """Every label in turn, -1 (none) included; None without classes."""
    return torch.arange(n) % (num_classes + 1) - 1 if num_classes else None


def labelled(subject: Subject, seed: int, n: int = 60) -> Batch:
    """Points of three classes around 0, 4 and 8, each with a deviation of one half."""
    y = torch.arange(n) % 3
    return Batch(4 * expand_time(y.float(), subject.randn(n, seed)) + subject.randn(n, seed, torch.float32) / 2, y)


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with other weights: many start with layers of zeros, which would hide what comes before them."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_((0.1 * noise).to(parameter))
    return network
