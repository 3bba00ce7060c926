"""Declares the ODE integrators and time grids."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

INTEGRATORS = {
    "euler": ("Euler", "order 1, one evaluation a step"),
    "midpoint": ("Midpoint", "order 2, two evaluations a step"),
    "heun": ("Heun", "order 2, two evaluations a step, the second at its end"),
    "rk4": ("RK4", "order 4, four evaluations a step"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (cls, summary) in INTEGRATORS.items():
        yield Component(
            kind="integrator",
            name=name,
            target=f"flowkit_ode.{name}:{cls}",
            summary=summary,
            default_for=("any",) if name == "heun" else (),
        )
    yield Component(
        kind="grid",
        name="uniform",
        target="flowkit_ode.grids:UniformGrid",
        summary="equal steps",
        default_for=("any",),
    )
