"""Declares the exact fields."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="field",
        name="finite_data",
        target="flowkit_exact.drawn_data:DrawnDataField",
        summary="exact for a finite set of points: a data set, or draws of a data source",
        examples=({"path": "gaussian", "data": "moons", "draws": 50},),
    )
    yield Component(
        kind="field",
        name="gaussian_mixture",
        target="flowkit_exact.gaussian_mixture:GaussianMixtureField",
        summary="exact for a mixture of Gaussians",
        examples=({"path": "gaussian", "means": [[-2, 0], [2, 0]], "covariances": [0.5, 1.0], "weights": [1, 3]},),
    )
