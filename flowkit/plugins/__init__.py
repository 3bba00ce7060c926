"""The plugin system: what a plugin declares, and the host that finds plugins. Imports no torch.

A plugin author needs `Component`, `Recipe`, `Kind`, `Command`, `hookimpl` and the contexts of hooks; everything
else here is the host's side.
"""

from .api import OLDEST_PLUGIN_API, PLUGIN_API
from .component import Command, Component, Recipe
from .contexts import (
    CheckpointLoaded,
    CheckpointSaved,
    ConfigurationBuilt,
    ReportBuilt,
    ReportDraft,
    SamplingEnded,
    SamplingStarted,
    StepEnded,
    TrainingEnded,
    TrainingStarted,
)
from .hookspecs import hookimpl
from .kinds import KINDS, Kind
from .lifecycle import HookFailure
from .manager import PluginManager, PluginRecord, installed_plugins
from .registry import Entry, Registry
from .section import Image, Section

__all__ = [
    "KINDS",
    "OLDEST_PLUGIN_API",
    "PLUGIN_API",
    "CheckpointLoaded",
    "CheckpointSaved",
    "Command",
    "Component",
    "ConfigurationBuilt",
    "Entry",
    "HookFailure",
    "Image",
    "Kind",
    "PluginManager",
    "PluginRecord",
    "Recipe",
    "Registry",
    "ReportBuilt",
    "ReportDraft",
    "SamplingEnded",
    "SamplingStarted",
    "Section",
    "StepEnded",
    "TrainingEnded",
    "TrainingStarted",
    "hookimpl",
    "installed_plugins",
]
