"""What every weighting must do: weights that are weights, on whatever error they are asked for."""

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..interfaces.path import Path
from ..interfaces.quantity import Quantity
from .check import CheckList, NotApplicable, Subject, require, require_close
from .reference import path_for

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="return one weight a time: torch.ones_like(t) times something")
def gives_a_weight_for_each_time(subject: Subject) -> None:
    """T of shape (batch,) gives weights of shape (batch,) and of the type of t."""
    path = path_for(subject)
    for dtype in (torch.float64, torch.float32):
        t = _times().to(dtype)
        weight = subject.component.weight(t, path)
        require(weight.shape == t.shape, f"weight of {len(t)} times has shape {tuple(weight.shape)}")
        require(weight.dtype == dtype, f"weight of {dtype} times is {weight.dtype}")


@CHECKS.add(hint="a weight multiplies a squared error: a negative one makes training flee from the target")
def is_nowhere_negative(subject: Subject) -> None:
    """lambda(t) >= 0."""
    t = _times()
    weight = subject.component.weight(t, path_for(subject))
    least = int(weight.argmin())
    require(float(weight[least]) >= 0, f"the weight at t = {float(t[least]):.4g} is {float(weight[least]):.6g}")


@CHECKS.add(hint="bound it, or write it such that nothing is divided by 0 inside (0, 1)")
def is_finite_inside(subject: Subject) -> None:
    """lambda(t) is finite on the open interval (0, 1)."""
    t = _times()
    finite = subject.component.weight(t, path_for(subject)).isfinite()
    require(bool(finite.all()), f"the weight at t = {_show(t[~finite])} is not finite")


@CHECKS.add(hint="do not normalise over the batch: what a time weighs must not depend on the others that were drawn")
def does_not_depend_on_the_batch(subject: Subject) -> None:
    """Each weight is that of its own time."""
    path, t = path_for(subject), _times()
    alone = torch.cat([subject.component.weight(one, path) for one in t.split(1)])
    require_close(
        subject.component.weight(t, path) / alone.abs().clamp(min=1),
        alone / alone.abs().clamp(min=1),
        1e-12,
        "weights in a batch against the same alone",
    )


@CHECKS.add(hint="override `weight` and `of`, and leave `weight_on` to the interface")
def weighs_every_quantity_alike(subject: Subject) -> None:
    """weight_on(q) times an error of q is weight times the error of `of` that it amounts to."""
    path, t = path_for(subject), _times()[2:-2]
    weight, seen = subject.component.weight(t, path), 0
    for quantity in Quantity:
        try:
            wanted = weight * _becomes(subject.component.of, quantity, t, path) ** 2
            found = subject.component.weight_on(quantity, t, path)
        except UnsupportedError:
            continue
        seen += 1
        scale = wanted.abs().clamp(min=1e-300)
        require_close(found / scale, wanted / scale, 1e-6, f"weight_on the error of the {quantity.value}")
    if not seen:
        raise NotApplicable("the path at hand has none of its conversions")


def _times() -> Tensor:
    ends = torch.tensor([1e-4, 1e-3], dtype=torch.float64)
    return torch.cat([ends, torch.linspace(0.02, 0.98, 25, dtype=torch.float64), 1 - ends.flip(0)])


def _becomes(of: Quantity | None, quantity: Quantity, t: Tensor, path: Path) -> Tensor:
    """How large an error of `of` is made by an error 1 of `quantity`: conversions are linear in it."""
    if of is None or of is quantity:
        return torch.ones_like(t)
    x, value = torch.zeros(len(t), 1, dtype=t.dtype), torch.ones(len(t), 1, dtype=t.dtype)
    return (path.convert(value, x, t, quantity, of) - path.convert(0 * value, x, t, quantity, of))[:, 0]


def _show(t: Tensor) -> str:
    return ", ".join(f"{time:.4g}" for time in t[:3].tolist())
