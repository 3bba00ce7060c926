"""Samples on their way to a file: written batch by batch, so that what was drawn is never drawn again."""

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import ConfigError, FlowkitWarning
from ..export import check_images, check_writable, write_samples
from ..files import save_tensors, sync
from ..interfaces.data import DataSpec
from ..locks import exclusive
from ..processes import launched
from ..random import block_size
from .draws import Draws, NotFinite
from .memory import FittingBatches

__all__ = ["SampleParts", "digest", "draw_to"]

_DIGITS = 26
"""How many characters a number takes in a text file: at most 24, a comma, its share of label and line end."""


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
    processes = launched()
    processes.meet()
    with exclusive(_beside(path, ".lock"), f"writing {path}") if processes.is_main else nullcontext():
        parts = SampleParts(path, facts)
        if processes.is_main:
            _check_room(path, n, spec, draws.model.dtype, parts.bytes)  # first: what is refused takes nothing away
            block = block_size(math.prod(spec.event_shape))
            parts.open(size * math.ceil(block / size))  # a part of small batches holds several
        processes.wait()
        starts = range(0, n, parts.rows)
        batches = FittingBatches(size)
        for start in starts[processes.rank :: processes.world]:
            samples = range(start, min(start + parts.rows, n))
            if not parts.has(samples):
                parts.add(start, torch.cat([x for _, x in batches.over(samples, draws.batch)]))
        processes.wait()
        if processes.is_main:
            found = NotFinite()
            write_samples(path, n, ((found.look(x), y) for x, y in parts.batches(starts, draws.y)), spec)
            parts.remove()
            found.warn()
        processes.wait()


class SampleParts:
    """The parts of a set of samples, each a safetensors file in a folder beside the file that they will make up.

    Arguments:
        path: The file to be.
        facts: What the samples depend on; parts of other samples are of no use.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.folder = _beside(path, ".parts")
        self._facts = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def open(self, rows: int) -> None:
        """Make the folder, without what is in it of other samples.

        Arguments:
            rows: How many samples a part has, unless parts of these samples are there already.
        """
        try:
            if self._held()["facts"] == self._facts:
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if self.bytes:
            text = f"{self.folder}: what is there is of other samples, or damaged, and is drawn anew"
            warnings.warn(text, FlowkitWarning, stacklevel=2)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "facts.json").write_text(json.dumps({"facts": self._facts, "rows": rows}), encoding="utf-8")

    @property
    def rows(self) -> int:
        """How many samples a part has."""
        return int(self._held()["rows"])

    @property
    def bytes(self) -> int:
        """What the parts take, those of other samples too."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))

    def has(self, samples: range) -> bool:
        """Whether the part of these samples is there, of that length, and can be read."""
        try:
            return len(self._read(samples.start)) == len(samples)
        except (OSError, SafetensorError):
            return False

    def add(self, start: int, x: Tensor) -> None:
        """Keep a part: whole or not at all."""
        partial = self._file(start).with_suffix(".partial")
        save_tensors({"x": x.contiguous()}, partial)
        sync(partial)
        partial.replace(self._file(start))

    def batches(self, starts: Sequence[int], y: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The parts in order, with their labels."""
        for start in starts:
            x = self._read(start)
            yield x, None if y is None else y[start : start + len(x)]

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _held(self) -> dict[str, Any]:
        held: dict[str, Any] = json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))
        return held

    def _file(self, start: int) -> Path:
        return self.folder / f"{start:012d}-{self._facts[:16]}.safetensors"

    def _read(self, start: int) -> Tensor:
        return load_file(self._file(start))["x"]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check_room(path: Path, n: int, spec: DataSpec, dtype: torch.dtype, there: int) -> None:
    """Refuse what the disk cannot hold, before any work is done.

    Arguments:
        path: Where to.
        n: How many samples.
        spec: Their shape and classes.
        dtype: Their type.
        there: How many bytes parts take there already; they are used, or make way.
    """
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    suffix, numbers = path.suffix.lower(), n * math.prod(spec.event_shape)
    written = numbers * (_DIGITS if suffix == ".csv" else dtype.itemsize)
    if suffix in (".csv", ".npz"):  # at most four bytes a character, and quotes
        written += n * max((4 * len(name) + 2 for name in spec.class_names), default=0)
    free, needed = shutil.disk_usage(folder).free, numbers * dtype.itemsize + written - there
    if needed > free:
        raise ConfigError(
            f"{n} samples (-n) take up to {_size(needed)}{' more' if there else ''} while they are put together, and "
            f"{folder} has {_size(free)}: draw fewer, or choose another place"
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
