"""Declares the ODE integrators and time grids."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

INTEGRATORS = {
    "euler": ("Euler", "order 1, one evaluation a step"),
    "midpoint": ("Midpoint", "order 2, two evaluations a step"),
    "heun": ("Heun", "order 2, two evaluations a step, the second at its end"),
    "ralston": ("Ralston", "order 2, two evaluations a step, with the least error bound"),
    "rk4": ("RK4", "order 4, four evaluations a step"),
    "adams_bashforth": ("AdamsBashforth", "order 2 to 4, one evaluation a step, from the slopes of earlier steps"),
    "bosh3": ("Bosh3", "order 3, chooses its steps to meet a tolerance; three evaluations each"),
    "dopri5": ("Dopri5", "order 5, chooses its steps to meet a tolerance; six evaluations each"),
}

GRIDS = {
    "uniform": ("grids:UniformGrid", "equal steps"),
    "quadratic": ("grids:QuadraticGrid", "shorter steps towards the data"),
    "cosine": ("grids:CosineGrid", "shorter steps towards the noise"),
    "shifted": ("grids:ShiftedGrid", "shifted towards the noise, as large images need it"),
    "karras": ("noise_levels:KarrasGrid", "equal steps of a power of the noise level"),
    "log_snr": ("noise_levels:LogSNRGrid", "equal steps of the log signal-to-noise ratio"),
    "curvature": ("curvature:CurvatureGrid", "shorter steps where the paths of the model bend"),
    "explicit": ("explicit:ExplicitGrid", "times written out"),
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
    for name, (target, summary) in GRIDS.items():
        yield Component(
            kind="grid",
            name=name,
            target=f"flowkit_ode.{target}",
            summary=summary,
            default_for=("any",) if name == "uniform" else (),
            examples=({"values": [0, 0.25, 1]},) if name == "explicit" else (),
        )
