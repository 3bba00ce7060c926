"""Declares the two-sided paths."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

PATHS = {
    "linear": ("Linear", "t z + (1 - t) x0 + gamma_t eps: rectified flow between any two distributions"),
    "trigonometric": ("Trigonometric", "sin(pi t / 2) z + cos(pi t / 2) x0 + gamma_t eps"),
    "encoding_decoding": ("EncodingDecoding", "first x0 turns into noise, then noise into z"),
    "brownian_bridge": ("BrownianBridge", "Brownian motion pinned at x0 and z, as in Schrodinger bridges"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (cls, summary) in PATHS.items():
        yield Component(kind="path", name=name, target=f"flowkit_interpolants.paths:{cls}", summary=summary)
