"""Whether two predictors speak of the same path."""

import torch
from torch import Tensor

from .interfaces.path import Path
from .interfaces.predictor import Predictor

__all__ = ["same_path"]


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


def _course(path: Path) -> tuple[Tensor, Tensor]:
    """Points of the path between some pairs, the same for every path, and the velocities there."""
    generator = torch.Generator().manual_seed(0)
    x0, z = torch.randn(2, 9, 2, generator=generator, dtype=torch.float64)
    t = torch.arange(1, 10, dtype=torch.float64) / 10
    x = path.sample(x0, z, t, generator)
    return x, path.velocity(x, x0, z, t)
