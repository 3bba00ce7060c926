"""Declares Gaussian paths, their schedules and their source."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

SCHEDULES = {
    "condot": ("CondOT", "straight lines: alpha = t, beta = 1 - t"),
    "cosine": ("Cosine", "alpha = sin(pi t / 2), beta = cos(pi t / 2)"),
    "ddpm": ("DDPM", "the variance-preserving steps of DDPM, made continuous"),
    "edm": ("EDM", "alpha = 1, and the noise levels of Karras et al."),
    "logit_linear": ("LogitLinear", "variance-preserving, with a log-SNR linear in t"),
    "polynomial": ("Polynomial", "alpha = t^n, beta = 1 - t^n"),
    "shifted": ("Shifted", "another schedule with its times shifted towards the noise, as in SD3 and Flux"),
    "sub_vp": ("SubVariancePreserving", "the sub-VP SDE with a linear rate: beta = 1 - alpha^2"),
    "target": ("Target", "straight lines to the data with noise: alpha = t, beta = 1 - (1 - sigma_min) t"),
    "ve": ("VarianceExploding", "the variance-exploding SDE: alpha = 1, beta geometric"),
    "vp": ("VariancePreserving", "the variance-preserving SDE with a linear rate"),
}


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
    for name, (cls, summary) in SCHEDULES.items():
        yield Component(
            kind="schedule",
            name=name,
            target=f"flowkit_gaussian.schedules:{cls}",
            summary=summary,
            default_for=("any",) if name == "condot" else (),
        )
    yield Component(
        kind="source",
        name="gaussian",
        target="flowkit_gaussian.source:GaussianSource",
        summary="the standard normal N(0, I)",
        default_for=("any",),
    )
