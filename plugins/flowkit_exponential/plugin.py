"""Declares the exponential integrators."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

INTEGRATORS = {
    "ddim": ("ddim:DDIM", "order 1, one evaluation a step"),
    "dpmpp_2s": ("dpmpp_2s:DPMpp2S", "DPM-Solver++(2S): order 2, two evaluations a step"),
    "dpmpp_2m": ("dpmpp_2m:DPMpp2M", "DPM-Solver++(2M): order 2, one evaluation a step"),
    "dpmpp_3m": ("dpmpp_3m:DPMpp3M", "DPM-Solver++(3M): order 2 with a smaller error, one evaluation a step"),
    "unipc": ("unipc:UniPC", "UniPC, B2: order 3, one evaluation a step"),
    "exponential_ab": (
        "adams_bashforth:ExponentialAdamsBashforth",
        "exponential Adams-Bashforth: order 2 or 3, one evaluation a step",
    ),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (target, summary) in INTEGRATORS.items():
        yield Component(kind="integrator", name=name, target=f"flowkit_exponential.{target}", summary=summary)
