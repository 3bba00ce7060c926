"""Declares the metrics."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="metric",
        name="wasserstein",
        target="flowkit_metrics.wasserstein:Wasserstein",
        summary="the exact 2-Wasserstein distance between two samples",
        default_for=("any",),
    )
    yield Component(
        kind="metric",
        name="label_agreement",
        target="flowkit_metrics.label_agreement:LabelAgreement",
        summary="how many samples a classifier gives the label that was asked for",
    )
    yield Component(
        kind="metric",
        name="nearest_neighbour",
        target="flowkit_metrics.nearest_neighbour:NearestNeighbour",
        summary="the median distance from a sample to the nearest data point",
    )
