"""Declares the heads."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

HEADS = {
    "velocity": ("VelocityHead", "the output is the velocity u_t(x)"),
    "score": ("ScoreHead", "the output is the score grad log p_t(x)"),
    "noise": ("NoiseHead", "the output is the mean of the noise, E[x0|x]"),
    "data": ("DataHead", "the output is the posterior mean of the data, E[z|x]"),
    "v": ("VHead", "the output is v = alpha_t noise - beta_t data"),
    "joint": ("JointHead", "two outputs, velocity and score"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (cls, summary) in HEADS.items():
        default = ("any",) if name == "velocity" else ()
        yield Component(
            kind="head", name=name, target=f"flowkit_heads.heads:{cls}", summary=summary, default_for=default
        )
