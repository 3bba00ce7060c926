"""Declares the heads."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

HEADS = {
    "velocity": ("heads:VelocityHead", "the output is the velocity u_t(x)"),
    "score": ("heads:ScoreHead", "the output is the score grad log p_t(x)"),
    "noise": ("heads:NoiseHead", "the output is the mean of the noise, E[x0|x]"),
    "data": ("heads:DataHead", "the output is the posterior mean of the data, E[z|x]"),
    "v": ("heads:VHead", "the output is v = alpha_t noise - beta_t data"),
    "edm": ("edm:EDMHead", "the posterior mean of the data, preconditioned as in EDM"),
    "joint": ("heads:JointHead", "two outputs, velocity and score"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (target, summary) in HEADS.items():
        default = ("any",) if name == "velocity" else ()
        yield Component("head", name, f"flowkit_heads.{target}", summary, default)
