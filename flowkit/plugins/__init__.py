"""The plugin system: what a plugin declares, and the host that finds plugins. Imports no torch.

A plugin author needs `Component`, `Recipe` and `hookimpl`; everything else here is the host's side.
"""

from .component import Component, Recipe
from .hookspecs import hookimpl
from .kinds import KINDS, Kind
from .manager import PluginManager, PluginRecord, installed_plugins
from .registry import Entry, Registry

__all__ = [
    "KINDS",
    "Component",
    "Entry",
    "Kind",
    "PluginManager",
    "PluginRecord",
    "Recipe",
    "Registry",
    "hookimpl",
    "installed_plugins",
]
