"""Declares the losses, weightings and time distributions."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="loss",
        name="cfm",
        target="flowkit_losses.cfm:ConditionalFlowMatching",
        summary="regress the conditional velocity u_t(x|z)",
        default_for=("any",),
    )
    yield Component(
        kind="loss",
        name="csm",
        target="flowkit_losses.csm:ConditionalScoreMatching",
        summary="regress the conditional score (denoising score matching)",
    )
    yield Component(
        kind="loss",
        name="joint",
        target="flowkit_losses.joint:JointMatching",
        summary="conditional flow matching plus conditional score matching, for the joint head",
    )
    yield Component(
        kind="weighting",
        name="unit",
        target="flowkit_losses.weightings:UnitWeighting",
        summary="1 at every time",
        default_for=("any",),
    )
    yield Component(
        kind="weighting",
        name="beta_squared",
        target="flowkit_losses.weightings:BetaSquaredWeighting",
        summary="beta_t^2, which makes score matching noise prediction",
    )
    yield Component(
        kind="time",
        name="uniform",
        target="flowkit_losses.times:UniformTime",
        summary="t uniform on (0, 1)",
        default_for=("any",),
    )
