"""Networks that were trained elsewhere, as models of flowkit."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chain import DiscreteChain as DiscreteChain
    from .diffusers import from_diffusers as from_diffusers
    from .network import ForeignNetwork as ForeignNetwork
    from .wrapping import wrap as wrap

_MODULES = {
    "DiscreteChain": "chain",
    "ForeignNetwork": "network",
    "from_diffusers": "diffusers",
    "wrap": "wrapping",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Everything is imported on first use, torch too."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
