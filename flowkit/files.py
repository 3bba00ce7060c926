"""Files of tensors."""

from collections.abc import Mapping
from pathlib import Path
from stat import S_IMODE

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["save_tensors"]


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file that whoever may read other new files may read: by itself it is for its owner alone."""
    path.touch()
    mode = S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path)
    path.chmod(mode)
