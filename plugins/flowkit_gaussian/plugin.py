"""Declares Gaussian paths, their schedules and their source."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="path",
        name="gaussian",
        target="flowkit_gaussian.path:GaussianPath",
        summary="x_t = alpha_t z + beta_t x0 with x0 ~ N(0, I)",
        default_for=("any",),
    )
    schedules = "flowkit_gaussian.schedules"
    yield Component(
        kind="schedule",
        name="condot",
        target=f"{schedules}:CondOT",
        summary="straight lines: alpha = t, beta = 1 - t",
        default_for=("any",),
    )
    yield Component(
        kind="schedule",
        name="cosine",
        target=f"{schedules}:Cosine",
        summary="alpha = sin(pi t / 2), beta = cos(pi t / 2)",
    )
    yield Component(
        kind="schedule",
        name="vp",
        target=f"{schedules}:VariancePreserving",
        summary="the variance-preserving SDE with a linear rate",
    )
    yield Component(
        kind="source",
        name="gaussian",
        target="flowkit_gaussian.source:GaussianSource",
        summary="the standard normal N(0, I)",
        default_for=("any",),
    )
