"""What is wrong with the plugins, in sentences that name the distribution and the way out."""

from .manager import PluginManager
from .registry import why_stray

__all__ = ["SLOW", "delays", "failures", "notes"]

SLOW = 1.0
"""Seconds after which the loading of a plugin is worth a note."""


def notes(manager: PluginManager) -> list[str]:
    """A sentence for every plugin that failed or is slow, every component without a kind, every kind in dispute."""
    return [*failures(manager), *delays(manager)]


def failures(manager: PluginManager) -> list[str]:
    """What cannot be used: plugins that failed, components without a kind, kinds in dispute."""
    registry = manager.registry
    failed = [
        f"plugin {record.name} {record.version} did not load: {record.error} "
        f"(FLOWKIT_DISABLE_PLUGINS={record.name} leaves it out)"
        for record in manager.records
        if record.status == "failed"
    ]
    stray = [
        f"plugin {entry.plugin} {entry.version}: {why_stray(entry, registry)}: install the one that does"
        for entry in registry.strays
    ]
    return [*failed, *stray, *dict.fromkeys(registry.contested.values())]


def delays(manager: PluginManager) -> list[str]:
    """The plugins that every command waits for."""
    return [
        f"plugin {record.name} {record.version} took {record.seconds:.1f} s to load, and every command waits for it: "
        f"its module should import flowkit.plugins alone, and name its classes as 'module:Class' "
        f"(FLOWKIT_DISABLE_PLUGINS={record.name} leaves it out)"
        for record in manager.records
        if record.seconds > SLOW
    ]
