"""Recipes: complete configurations that plugins ship."""

from importlib import resources
from typing import Any

from ..config.files import parse_yaml
from ..plugins.manager import PluginManager

__all__ = ["recipe_config"]


def recipe_config(name: str, plugins: PluginManager) -> dict[str, Any]:
    """The configuration of a recipe."""
    package, _, file = plugins.recipe(name).target.partition(":")
    return parse_yaml(resources.files(package).joinpath(file).read_text(encoding="utf-8"), f"recipe {name}")
