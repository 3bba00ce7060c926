"""The plugin system: what a plugin declares, and the host that finds plugins. Imports no torch.

A plugin author needs `Component`, `Recipe`, `Kind` and `hookimpl`; everything else here is the host's side.
"""

from .api import OLDEST_PLUGIN_API, PLUGIN_API
from .component import Component, Recipe
from .hookspecs import hookimpl
from .kinds import KINDS, Kind
from .manager import PluginManager, PluginRecord, installed_plugins
from .registry import Entry, Registry

__all__ = [
    "KINDS",
    "OLDEST_PLUGIN_API",
    "PLUGIN_API",
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
