"""Declares the couplings."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

TRANSPORT = {
    "ot": ("optimal:OptimalCoupling", "exact optimal transport within a batch: a permutation"),
    "conditional_ot": (
        "conditional:ConditionalOptimalCoupling",
        "optimal transport among equal or similar conditions, for conditional models",
    ),
    "sinkhorn": ("sinkhorn:SinkhornCoupling", "draws from an entropic transport plan"),
    "unbalanced": ("sinkhorn:UnbalancedCoupling", "draws from an entropic plan that may use outliers less often"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="coupling",
        name="independent",
        target="flowkit_couplings.independent:IndependentCoupling",
        summary="x0 and z have nothing to do with each other",
        default_for=("any",),
    )
    yield Component(
        kind="coupling",
        name="given",
        target="flowkit_couplings.given:GivenCoupling",
        summary="the pairs (x0, z) that the data come in",
    )
    for name, (target, summary) in TRANSPORT.items():
        yield Component(kind="coupling", name=name, target=f"flowkit_couplings.{target}", summary=summary)
