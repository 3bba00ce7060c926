"""Guidance: steering sampling by a condition, a classifier, or a worse model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autoguidance import Autoguidance as Autoguidance
    from .cfg_zero_star import CFGZeroStar as CFGZeroStar
    from .chain import Chain as Chain
    from .classifier import ClassifierGuidance as ClassifierGuidance
    from .classifier_free import ClassifierFreeGuidance as ClassifierFreeGuidance
    from .run import RunModel as RunModel

_MODULES = {
    "Autoguidance": "autoguidance",
    "CFGZeroStar": "cfg_zero_star",
    "Chain": "chain",
    "ClassifierFreeGuidance": "classifier_free",
    "ClassifierGuidance": "classifier",
    "RunModel": "run",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """The classes are imported on first use: `flowkit_guidance.plugin` is read where torch must not be."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
