"""What it is to use a component of each kind once: the manners of every component are looked at while it works."""

import tempfile
from collections.abc import Callable
from pathlib import Path as Folder
from typing import Any

import torch
from torch import Tensor

from ..dynamics import ODE
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from ..plugins.registry import resolve_target
from .check import CheckList, NotApplicable, Subject, seeded
from .fields import precision_of, predictable
from .flow import of_vectors
from .parts import callback_state, default_path, labelled, labels, model_for, reference_model, stirred

__all__ = ["tensors_in", "use_of"]

Use = Callable[[Subject], Any]


def use_of(subject: Subject) -> Use:
    """How components of this kind are used.

    Raises:
        NotApplicable: The kind does not say.
    """
    own = subject.registry.kinds[subject.kind].checks
    checks = resolve_target(own) if own else None
    use = (checks.use if isinstance(checks, CheckList) else None) or USES.get(subject.kind)
    if use is None:
        raise NotApplicable(f"nobody says how a {subject.kind} is used: give its checks a `CheckList(use=...)`")
    return use


def tensors_in(result: Any) -> list[Tensor]:
    """The tensors and numbers somewhere in what a use returned."""
    if isinstance(result, Tensor):
        return [result.detach()]
    if isinstance(result, (bool, int, float)):
        return [torch.tensor(float(result), dtype=torch.float64)]
    if isinstance(result, dict):
        result = list(result.values())
    return [tensor for item in result for tensor in tensors_in(item)] if isinstance(result, (list, tuple)) else []


def _data(subject: Subject) -> Any:
    return tuple(subject.component.draw(16, seeded(0)))


def _source(subject: Subject) -> Any:
    return subject.component.sample(16, subject.event_shape, seeded(0))


def _coupling(subject: Subject) -> Any:
    return subject.component.pair(subject.randn(16, 0), subject.randn(16, 1), None, seeded(0))


def _path(subject: Subject) -> Any:
    of_vectors(subject)
    x0, z, t = subject.randn(16, 0), subject.randn(16, 1), torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
    x = subject.component.sample(x0, z, t, seeded(0))
    return x, subject.component.velocity(x, x0, z, t)


def _schedule(subject: Subject) -> Any:
    t, schedule = torch.linspace(0.1, 0.9, 9, dtype=torch.float64), subject.component
    return schedule.alpha(t), schedule.beta(t), schedule.alpha_dot(t), schedule.beta_dot(t)


def _network(subject: Subject) -> Any:
    network = stirred(subject.component.float()).eval()
    x, t = subject.randn(4, 0, torch.float32), torch.linspace(0.1, 0.9, 4)
    return network(x, t, labels(4, subject.num_classes))


def _head(subject: Subject) -> Any:
    head, x = subject.component, subject.randn(4, 0)
    outputs = [1] * (x.ndim - 1)
    outputs[0] = head.outputs
    t = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    return head.predict(lambda x, t, y=None: x.tanh().repeat(1, *outputs), x, t, None, default_path(subject))


def _loss(subject: Subject) -> Any:
    model = model_for(subject.component, subject)
    return subject.component(model, subject.randn(16, 0), subject.randn(16, 1), None, seeded(0))


def _field(subject: Subject) -> Any:
    field = subject.component
    return field.predict(subject.randn(4, 0, precision_of(field, subject, None)), 0.4, None, predictable(field))


def _weighting(subject: Subject) -> Any:
    return subject.component.weight(torch.linspace(0.1, 0.9, 9, dtype=torch.float64), _going_with(subject))


def _time(subject: Subject) -> Any:
    return subject.component.sample(64, seeded(0), path=_going_with(subject))


def _grid(subject: Subject) -> Any:
    return subject.component.times(8, _going_with(subject))


def _integrator(subject: Subject) -> Any:
    dynamics = ODE(reference_model(subject), path=_going_with(subject))
    return subject.component.integrate(dynamics, subject.randn(4, 0), [0.2, 0.4, 0.6], seeded(0))


def _diffusion(subject: Subject) -> Any:
    return [subject.component.sigma(t, _going_with(subject)) for t in (0.1, 0.5, 0.9)]


def _guidance(subject: Subject) -> Any:
    model = reference_model(subject)
    if problems := subject.component.problems(model):
        raise NotApplicable(problems[0])
    guided = subject.component.guide(model)
    return guided.predict(subject.randn(4, 0), 0.4, labels(4, 3), (Quantity.VELOCITY,))


def _metric(subject: Subject) -> Any:
    return subject.component.measure(labelled(subject, 0), labelled(subject, 1))


def _callback(subject: Subject) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        state = callback_state(Folder(folder))
        subject.component.training_started(state)
        subject.component.logged(state)
        subject.component.training_ended(state)


def _going_with(subject: Subject) -> Path:
    """The default path, where the component goes with it."""
    path = default_path(subject)
    if problems := subject.component.problems(path):
        raise NotApplicable(f"it does not go with {type(path).__name__}: {problems[0]}")
    return path


USES: dict[str, Use] = {
    "data": _data,
    "source": _source,
    "coupling": _coupling,
    "path": _path,
    "schedule": _schedule,
    "network": _network,
    "head": _head,
    "loss": _loss,
    "field": _field,
    "weighting": _weighting,
    "time": _time,
    "grid": _grid,
    "integrator": _integrator,
    "diffusion": _diffusion,
    "guidance": _guidance,
    "metric": _metric,
    "callback": _callback,
}
