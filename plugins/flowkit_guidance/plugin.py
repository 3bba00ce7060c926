"""Declares the guidance methods, and the model of a run, which one of them takes."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

GUIDANCE = {
    "autoguidance": ("autoguidance:Autoguidance", "away from a worse version of the model"),
    "cfg_zero_star": ("cfg_zero_star:CFGZeroStar", "CFG-Zero*: unconditional velocity scaled, no velocity at first"),
    "chain": ("chain:Chain", "several guidances, one on top of the other"),
    "classifier_free": (
        "classifier_free:ClassifierFreeGuidance",
        "extrapolate from the unconditional to the conditional field",
    ),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (target, summary) in GUIDANCE.items():
        yield Component(kind="guidance", name=name, target=f"flowkit_guidance.{target}", summary=summary)
    yield Component(
        kind="field",
        name="run",
        target="flowkit_guidance.run:RunModel",
        summary="the model of a run folder",
    )
