"""Declares the couplings."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="coupling",
        name="independent",
        target="flowkit_couplings.independent:IndependentCoupling",
        summary="x0 and z have nothing to do with each other",
        default_for=("any",),
    )
