"""Declares the guidance methods."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="guidance",
        name="classifier_free",
        target="flowkit_guidance.classifier_free:ClassifierFreeGuidance",
        summary="extrapolate from the unconditional to the conditional field",
    )
