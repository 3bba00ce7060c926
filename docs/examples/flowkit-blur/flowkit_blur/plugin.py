"""What this plugin provides."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

flowkit_api = 1


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The path."""
    yield Component(
        kind="path",
        name="blur",
        target="flowkit_blur.path:BlurPath",
        summary="noise to data while a blur goes: coarse shapes first, details last",
        examples=({"blur": 3.0},),
    )
