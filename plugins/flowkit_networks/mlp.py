"""A fully connected network."""

import math
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from flowkit import Condition, EventShape, Network, NumClasses, Outputs

from .embeddings import LabelEmbedding, TimeFeatures

__all__ = ["MLP"]


class MLP(nn.Module, Network):
    """Linear layers with SiLU between them, on the flattened state beside features of time and label.

    Arguments:
        width: The width of the hidden layers.
        depth: How many hidden layers.
        frequencies: How many frequencies the time features have.
        event_shape: The shape of one data point.
        outputs: How many event-shaped outputs.
        num_classes: How many labels there are, or None for a network without labels.
    """

    def __init__(
        self,
        width: Annotated[int, Field(gt=0)] = 128,
        depth: Annotated[int, Field(gt=0)] = 3,
        frequencies: Annotated[int, Field(gt=0)] = 4,
        *,
        event_shape: EventShape,
        outputs: Outputs = 1,
        num_classes: NumClasses = None,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.frequencies = width, depth, frequencies
        self.event_shape, self.outputs, self.num_classes = event_shape, outputs, num_classes
        size = math.prod(event_shape)
        self.time = TimeFeatures(frequencies)
        self.label = LabelEmbedding(num_classes, width) if num_classes else None
        widths = [size + 2 * frequencies + (width if num_classes else 0)] + [width] * depth
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs * size))

    def forward(self, x: Tensor, t: Tensor, y: Condition = None) -> Tensor:
        """Shape (batch, outputs * event[0], *event[1:])."""
        features = [x.flatten(1), self.time(t).to(x.dtype)]
        if self.label is not None:
            features.append(self.label(y, len(x)))
        out = self.layers(torch.cat(features, dim=1))
        return out.reshape(len(x), self.outputs * self.event_shape[0], *self.event_shape[1:])
