"""Whether two predictors speak of the same path, and of the same data."""

import torch
from torch import Tensor

from .interfaces.data import Normalization
from .interfaces.path import Path
from .interfaces.predictor import Predictor

__all__ = ["same_path", "unlike_data"]

_CLOSE = 1e-2
"""Of the scale: units of the same data, summed in another order or read by another decoder, differ by much less."""


def same_path(ours: Predictor, theirs: Predictor) -> bool:
    """Whether two predictors are of one path, as far as they have an attribute `path`.

    Paths are the same if they lead the same pairs through the same points at the same speed, whatever they are called.
    """
    first, second = (getattr(predictor, "path", None) for predictor in (ours, theirs))
    if not isinstance(first, Path) or not isinstance(second, Path) or first is second:
        return True
    try:
        pairs = zip(_course(first), _course(second), strict=True)
        return all(torch.allclose(one, other) for one, other in pairs)
    except Exception:  # paths of other shapes than vectors
        return type(first) is type(second)


def unlike_data(ours: Predictor, theirs: Predictor) -> str | None:
    """What is unlike in the data of `theirs`, their shape or their units, as far as both are known; else None."""
    if ours.event_shape and theirs.event_shape and ours.event_shape != theirs.event_shape:
        return f"data of shape {theirs.event_shape} instead of {ours.event_shape}"
    if ours.normalization is None or theirs.normalization is None:
        return None
    return _unlike_units(ours.normalization, theirs.normalization)


def _unlike_units(ours: Normalization, theirs: Normalization) -> str | None:
    scale = ours.scale.double().cpu()
    for name in ("scale", "shift"):
        one, other = (getattr(units, name).double().cpu() for units in (ours, theirs))
        one, other, unit = (value.flatten() for value in torch.broadcast_tensors(one, other, scale))
        off = (other - one).abs() / unit
        worst = int(off.argmax())
        if off[worst] > _CLOSE:
            return f"data in other units, with a {name} of {other[worst]:.3g} instead of {one[worst]:.3g}"
    return None


def _course(path: Path) -> tuple[Tensor, Tensor]:
    """Points of the path between some pairs, the same for every path, and the velocities there."""
    generator = torch.Generator().manual_seed(0)
    x0, z = torch.randn(2, 9, 2, generator=generator, dtype=torch.float64)
    t = torch.arange(1, 10, dtype=torch.float64) / 10
    x = path.sample(x0, z, t, generator)
    return x, path.velocity(x, x0, z, t)
