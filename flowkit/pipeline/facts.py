"""What must be known of the data to train a model, and to build it again without them."""

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..interfaces.data import Dataset, DataSource, DataSpec, Normalization
from ..training.checkpoint import Checkpoint

__all__ = ["data_mean", "facts_of", "from_facts"]


_FEW = 16
"""Points that are looked at to know the data again."""


def facts_of(data: DataSource, normalization: Normalization) -> dict[str, Any]:
    """What `state.json` says of the data: enough to build the model again without them, and to know them again."""
    spec = data.spec
    return {
        "data": ({"paired": True} if spec.paired else {})
        | {
            "event_shape": list(spec.event_shape),
            "num_classes": spec.num_classes,
            "class_names": list(spec.class_names),
            "image_range": spec.image_range and list(spec.image_range),
            "shift": normalization.shift.tolist(),
            "scale": normalization.scale.tolist(),
        }
        | (_points_of(data, normalization) if isinstance(data, Dataset) else {})
    }


def _points_of(data: Dataset, normalization: Normalization) -> dict[str, Any]:
    """How many points there are, and the means of a few, by which other data are known."""
    few = torch.linspace(0, len(data) - 1, min(_FEW, len(data))).long()
    first, again = (_looks_of(data, normalization, few) for _ in range(2))
    return {"points": len(data)} | (first if first == again else {})  # not those that are augmented at random


def _looks_of(data: Dataset, normalization: Normalization, few: Tensor) -> dict[str, Any]:
    batch = data.take(few)
    looks: dict[str, Any] = {"means": normalization.normalize(batch.z).double().flatten(1).mean(1).tolist()}
    if isinstance(batch.y, Tensor) and not batch.y.is_floating_point():
        looks["labels"] = batch.y.tolist()
    if batch.x0 is not None:
        x0 = data.source_normalization.normalize(batch.x0)
        looks["means of x0"] = x0.double().flatten(1).mean(1).tolist()
    return looks


def from_facts(checkpoint: Checkpoint) -> tuple[DataSpec, Normalization]:
    """Shape, classes and units of the data that a checkpoint's model was trained on.

    Raises:
        CheckpointError: They cannot be read.
    """
    facts = checkpoint.state()
    try:
        data = facts["data"]
        image_range = data["image_range"]
        spec = DataSpec(
            tuple(data["event_shape"]),
            data["num_classes"],
            tuple(data["class_names"]),
            image_range and (image_range[0], image_range[1]),
            data.get("paired", False),
        )
        return spec, Normalization(torch.tensor(data["shift"]), torch.tensor(data["scale"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.folder}/state.json: damaged: {error!r}") from None


def data_mean(data: DataSource, normalization: Normalization) -> Tensor:
    """E[z] in the model's units, shape (*event), from up to 65,536 draws; fewer where data points are large."""
    event_shape = data.spec.event_shape
    numbers = math.prod(event_shape)
    count, chunk = max(1, min(2**16, 2**28 // numbers)), max(1, 2**22 // numbers)
    generator, total = torch.Generator().manual_seed(0), torch.zeros(event_shape, dtype=torch.float64)
    for start in range(0, count, chunk):
        z = data.draw(min(chunk, count - start), generator).z
        total += normalization.normalize(z).double().sum(0)
    return total / count
