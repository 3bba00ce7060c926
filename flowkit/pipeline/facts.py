"""What must be known of the data to build a trained model again without them."""

from typing import Any

import torch

from ..errors import CheckpointError
from ..interfaces.data import DataSpec, Normalization
from ..training.checkpoint import Checkpoint

__all__ = ["facts_of", "from_facts"]


def facts_of(spec: DataSpec, normalization: Normalization) -> dict[str, Any]:
    """What `state.json` says of the data: enough to build the model again without them."""
    return {
        "data": {
            "event_shape": list(spec.event_shape),
            "num_classes": spec.num_classes,
            "class_names": list(spec.class_names),
            "image_range": spec.image_range and list(spec.image_range),
            "shift": normalization.shift.tolist(),
            "scale": normalization.scale.tolist(),
        }
    }


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
        )
        return spec, Normalization(torch.tensor(data["shift"]), torch.tensor(data["scale"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.folder}/state.json: damaged: {error!r}") from None
