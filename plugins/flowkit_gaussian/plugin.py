"""Declares Gaussian paths, their schedules and their source."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

SCHEDULES = {
    "condot": ("straight:CondOT", "straight lines: alpha = t, beta = 1 - t"),
    "cosine": ("preserving:Cosine", "alpha = sin(pi t / 2), beta = cos(pi t / 2)"),
    "ddpm": ("preserving:DDPM", "the variance-preserving steps of DDPM, made continuous"),
    "edm": ("exploding:EDM", "alpha = 1, and the noise levels of Karras et al."),
    "logit_linear": ("preserving:LogitLinear", "variance-preserving, with a log-SNR linear in t"),
    "polynomial": ("straight:Polynomial", "alpha = t^n, beta = 1 - t^n"),
    "shifted": ("shifted:Shifted", "another schedule with its times shifted towards the noise, as in SD3 and Flux"),
    "sub_vp": ("preserving:SubVariancePreserving", "the sub-VP SDE with a linear rate: beta = 1 - alpha^2"),
    "target": ("straight:Target", "straight lines to the data with noise: alpha = t, beta = 1 - (1 - sigma_min) t"),
    "ve": ("exploding:VarianceExploding", "the variance-exploding SDE: alpha = 1, beta geometric"),
    "vp": ("preserving:VariancePreserving", "the variance-preserving SDE with a linear rate"),
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
    for name, (target, summary) in SCHEDULES.items():
        yield Component(
            kind="schedule",
            name=name,
            target=f"flowkit_gaussian.schedules.{target}",
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
