"""Declares the data sources."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

TOYS = {
    "moons": ("Moons", "two interleaving half circles, those of scikit-learn"),
    "checkerboard": ("Checkerboard", "the dark squares of a 4 x 4 board"),
    "eight_gaussians": ("EightGaussians", "eight normal distributions on a circle"),
    "spirals": ("Spirals", "two interleaving spirals"),
    "pinwheel": ("Pinwheel", "five normal distributions, bent into the arms of a pinwheel"),
    "circles": ("Circles", "two concentric circles"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (cls, summary) in TOYS.items():
        yield Component(
            kind="data",
            name=name,
            target=f"flowkit_data.{name}:{cls}",
            summary=summary,
            examples=({"labels": True},),
        )
    yield Component(
        kind="data",
        name="gaussian_mixture",
        target="flowkit_data.gaussian_mixture:GaussianMixture",
        summary="a mixture of Gaussians with your own means, covariances and weights",
        examples=({"means": [[-2, 0], [2, 0]], "covariances": [0.5, 1.0], "weights": [1, 3], "labels": True},),
    )
    yield Component(
        kind="data",
        name="digits",
        target="flowkit_data.digits:Digits",
        summary="1797 handwritten digits of 8 x 8 pixels, from scikit-learn",
        yields="image",
        examples=({"labels": False},),
    )
    yield Component(
        kind="data",
        name="array",
        target="flowkit_data.array:ArrayFile",
        summary="your own numbers: a .npy, .npz, .csv, .parquet or .safetensors file",
    )
    yield Component(
        kind="data",
        name="images",
        target="flowkit_data.images:ImageFolder",
        summary="your own images: a folder, with one subfolder a class",
        yields="image",
    )
    yield Component(
        kind="source",
        name="data",
        target="flowkit_data.source:DataAsSource",
        summary="x0 are data points too: from one distribution to another, on a two-sided path",
        examples=({"data": "eight_gaussians"},),
    )
