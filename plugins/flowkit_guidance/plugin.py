"""Declares the guidance methods, and the model of a run, which one of them takes."""

from collections.abc import Iterator
from typing import Any

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
WEAKER = {
    "name": "gaussian_mixture",
    "path": "gaussian",
    "means": [[-2, 0], [0, 2], [2, 0]],
    "covariances": [1.0, 1.0, 1.0],
}
EXAMPLES: dict[str, tuple[dict[str, Any], ...]] = {
    "autoguidance": ({"weaker": WEAKER},),
    "cfg_zero_star": ({"zero_until": None},),
    "chain": ({"guidances": ["classifier_free", "cfg_zero_star"]},),
    "classifier_free": ({"interval": [0.3, 0.6]}, {"rescale": 0.7}),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (target, summary) in GUIDANCE.items():
        yield Component(
            kind="guidance",
            name=name,
            target=f"flowkit_guidance.{target}",
            summary=summary,
            examples=EXAMPLES[name],
        )
    yield Component(
        kind="field",
        name="run",
        target="flowkit_guidance.run:RunModel",
        summary="the model of a run folder",
    )
