"""Samples on their way to a file: written batch by batch, so that what was drawn is never drawn again."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import ConfigError
from ..export import check_images, check_writable, write_samples
from ..interfaces.data import DataSpec
from ..processes import launched
from ..random import BLOCK
from .draws import Draws
from .memory import FittingBatches

__all__ = ["SampleParts", "digest", "draw_to"]


def draw_to(
    path: Path,
    n: int,
    size: int,
    draws: Draws,
    spec: DataSpec,
    facts: Mapping[str, Any],
) -> None:
    """Draw samples into a file; what an earlier call has drawn of them is kept. Launched processes share the batches.

    Arguments:
        path: Where to.
        n: How many.
        size: How many in a batch, as long as that fits in memory.
        draws: The samples.
        spec: The shape and classes of the data.
        facts: What the samples depend on.

    Raises:
        ConfigError: They cannot be written there.
    """
    check_writable(path)
    if not path.suffix:
        check_images(spec)
    if n < 1:
        raise ConfigError(f"a file takes at least 1 sample; got {n}")
    _check_room(path, n, spec)
    parts, processes, batches = SampleParts(path, facts), launched(), FittingBatches(size)
    starts = range(0, n, size * math.ceil(BLOCK / size))  # a part of small batches holds several
    if processes.is_main:
        parts.open()
    processes.wait()
    for start in starts[processes.rank :: processes.world]:
        if not parts.has(start):
            samples = range(start, min(start + starts.step, n))
            parts.add(start, torch.cat([x for _, x in batches.over(samples, draws.batch)]))
    processes.wait()
    if processes.is_main:
        write_samples(path, n, parts.batches(starts, draws.y), spec)
        parts.remove()
    processes.wait()


class SampleParts:
    """The parts of a set of samples, each a safetensors file in a folder beside the file that they will make up.

    Arguments:
        path: The file to be.
        facts: What the samples depend on; parts of other samples are of no use.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.folder = path.with_name(path.name + ".parts")
        self._facts = json.dumps(facts, sort_keys=True, indent=1)

    def open(self) -> None:
        """Make the folder, without what is in it of other samples."""
        file = self.folder / "facts.json"
        if file.is_file() and file.read_text(encoding="utf-8") == self._facts:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        file.write_text(self._facts, encoding="utf-8")

    def has(self, start: int) -> bool:
        """Whether the part that begins with this sample is there, and can be read."""
        try:
            return self._read(start) is not None
        except (OSError, SafetensorError):
            return False

    def add(self, start: int, x: Tensor) -> None:
        """Keep a part: whole or not at all."""
        partial = self._file(start).with_suffix(".partial")
        save_file({"x": x.contiguous()}, partial)
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(self._file(start))

    def batches(self, starts: Sequence[int], y: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The parts in order, with their labels."""
        for start in starts:
            x = self._read(start)
            yield x, None if y is None else y[start : start + len(x)]

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:012d}.safetensors"

    def _read(self, start: int) -> Tensor:
        return load_file(self._file(start))["x"]


def _check_room(path: Path, n: int, spec: DataSpec) -> None:
    """Refuse what the disk cannot hold, before any work is done."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    free, needed = shutil.disk_usage(there).free, 2 * 4 * n * math.prod(spec.event_shape)
    if needed > free:
        raise ConfigError(
            f"{n} samples take up to {_size(needed)} while they are put together, and {there} has {_size(free)}: draw "
            f"fewer"
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.0f} GiB" if count >= 10 * 2**30 else f"{count / 2**20:,.1f} MiB"


def digest(*tensors: Tensor | None) -> str:
    """A checksum of tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
