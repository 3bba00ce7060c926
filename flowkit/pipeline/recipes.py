"""Recipes: complete configurations that plugins ship."""

from importlib import resources
from typing import Any

from ..config.files import parse_yaml
from ..errors import PluginError
from ..plugins.manager import PluginManager
from ..plugins.registry import Registry

__all__ = ["recipe_config", "recipe_text"]


def recipe_text(name: str, plugins: PluginManager) -> str:
    """The YAML of a recipe, as it was written.

    Raises:
        PluginError: The plugin that declares it does not hold it.
    """
    recipe, _ = plugins.recipe(name)
    package, _, file = recipe.target.partition(":")
    try:
        return resources.files(package).joinpath(file).read_text(encoding="utf-8")
    except (OSError, ImportError) as error:
        raise PluginError(f"recipe {name!r}: {recipe.target} cannot be read: {error}") from error


def recipe_config(name: str, plugins: PluginManager) -> dict[str, Any]:
    """The configuration of a recipe. A name that several plugins claim means that of the recipe's own package."""
    _, record = plugins.recipe(name)
    given = parse_yaml(recipe_text(name, plugins), f"recipe {name}")
    return {key: _owned(key, value, record.distribution, plugins.registry) for key, value in given.items()}


def _owned(kind: str, value: Any, distribution: str, registry: Registry) -> Any:
    if isinstance(value, str) and registry.is_contested(kind, value):
        return f"{distribution}/{value}"
    if isinstance(value, list):
        return [_owned(kind.removesuffix("s"), item, distribution, registry) for item in value]
    if isinstance(value, dict):
        own = {key: _owned(key, item, distribution, registry) for key, item in value.items()}
        return own | ({"name": _owned(kind, own["name"], distribution, registry)} if "name" in own else {})
    return value
