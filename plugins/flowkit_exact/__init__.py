"""Marginal fields in closed form: of a finite set of points, and of a mixture of Gaussians."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finite_data import FiniteDataField as FiniteDataField
    from .gaussian_mixture import GaussianMixtureField as GaussianMixtureField

_MODULES = {"FiniteDataField": "finite_data", "GaussianMixtureField": "gaussian_mixture"}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """The classes are imported on first use: `flowkit_exact.plugin` is read where torch must not be."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
