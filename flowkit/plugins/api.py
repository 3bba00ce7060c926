"""The version of what plugins rely on: hooks, declarations, interfaces (docs/compatibility.md says how it moves)."""

from typing import Any

from ..errors import PluginError

__all__ = ["OLDEST_PLUGIN_API", "PLUGIN_API", "api_of", "check_api"]

PLUGIN_API = 1
"""What this flowkit offers. A plugin says `flowkit_api = 1` in its module; one that says nothing means 1."""

OLDEST_PLUGIN_API = 1
"""The oldest version whose plugins still work."""


def api_of(plugin: Any) -> int:
    """The version of the plugin API that a plugin is made for."""
    declared = getattr(plugin, "flowkit_api", 1)
    if not isinstance(declared, int) or isinstance(declared, bool) or declared < 1:
        raise PluginError(f"flowkit_api should be a whole number from 1 on; got {declared!r}")
    return declared


def check_api(declared: int, distribution: str, offered: int = PLUGIN_API, oldest: int = OLDEST_PLUGIN_API) -> None:
    """Refuse a plugin that is made for a version of the plugin API that this flowkit does not offer."""
    if declared > offered:
        way_out = "upgrade flowkit: pip install -U flowkit-torch"
    elif declared < oldest:
        way_out = f"upgrade the plugin: pip install -U {distribution}"
    else:
        return
    window = f"version {offered}" if oldest == offered else f"versions {oldest} to {offered}"
    raise PluginError(f"made for version {declared} of the plugin API; this flowkit offers {window}; {way_out}")
