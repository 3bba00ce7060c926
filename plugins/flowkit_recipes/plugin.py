"""Declares the recipes."""

from collections.abc import Iterator

from flowkit.plugins import Recipe, hookimpl


@hookimpl
def flowkit_recipes() -> Iterator[Recipe]:
    """The recipes of this plugin."""
    yield Recipe("moons", "flowkit_recipes:moons.yaml", "two half circles in the plane, by flow matching")
    yield Recipe("digits", "flowkit_recipes:digits.yaml", "handwritten digits by class, with guidance")
