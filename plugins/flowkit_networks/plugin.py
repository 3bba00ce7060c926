"""Declares the networks."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    yield Component(
        kind="network",
        name="mlp",
        target="flowkit_networks.mlp:MLP",
        summary="fully connected, for points and vectors",
        default_for=("any",),
    )
    yield Component(
        kind="network",
        name="unet",
        target="flowkit_networks.unet:UNet",
        summary="convolutional, for images",
        default_for=("image",),
    )
    yield Component(
        kind="network",
        name="dit",
        target="flowkit_networks.dit:DiT",
        summary="diffusion transformer, for images and latents",
    )
