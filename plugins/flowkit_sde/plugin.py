"""Declares the SDE integrators and diffusion coefficients."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="integrator",
        name="euler_maruyama",
        target="flowkit_sde.euler_maruyama:EulerMaruyama",
        summary="order 1/2 (1 for additive noise), one evaluation a step",
    )
    yield Component(
        kind="diffusion",
        name="constant",
        target="flowkit_sde.coefficients:ConstantDiffusion",
        summary="sigma_t = value",
    )
    yield Component(
        kind="diffusion",
        name="beta",
        target="flowkit_sde.coefficients:BetaDiffusion",
        summary="sigma_t = scale beta_t, which dies out with the noise of the path",
        default_for=("any",),
    )
