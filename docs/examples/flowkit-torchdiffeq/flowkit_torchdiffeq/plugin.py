"""What this plugin provides."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

flowkit_api = 1


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The integrator."""
    yield Component(
        kind="integrator",
        name="torchdiffeq",
        target="flowkit_torchdiffeq.integrator:Torchdiffeq",
        summary="order 1 to 4: the fixed-step methods of torchdiffeq",
        examples=({"method": "euler"}, {"method": "midpoint"}, {"method": "heun3"}),
    )
