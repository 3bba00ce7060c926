"""What is wrong with the plugins, in sentences that name the distribution and the way out."""

from collections.abc import Iterator

from .manager import PluginManager, PluginRecord, why_stray

__all__ = ["SLOW", "notes"]

SLOW = 1.0
"""Seconds after which the loading of a plugin is worth a note."""


def notes(manager: PluginManager) -> list[str]:
    """A sentence for every plugin that failed or is slow, every component without a kind, every kind in dispute."""
    registry = manager.registry
    stray = [f"{entry.plugin} {entry.version}: {why_stray(entry, registry)}" for entry in registry.strays]
    disputes = dict.fromkeys(registry.contested.values())
    return [*_of_records(manager.records), *(f"plugin {text}: install the one that does" for text in stray), *disputes]


def _of_records(records: list[PluginRecord]) -> Iterator[str]:
    for record in records:
        label = f"plugin {record.name} {record.version}"
        if record.status == "failed":
            yield f"{label} did not load: {record.error} (FLOWKIT_DISABLE_PLUGINS={record.name} leaves it out)"
        if record.seconds > SLOW:
            yield (
                f"{label} took {record.seconds:.1f} s to load, and every command waits for it: its module should "
                f"import flowkit.plugins alone, and name its classes as 'module:Class' "
                f"(FLOWKIT_DISABLE_PLUGINS={record.name} leaves it out)"
            )
