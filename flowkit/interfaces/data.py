"""Where data points come from."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ..batch import Batch
from ..conditions import select_condition
from ..errors import DataError

__all__ = ["DataSource", "DataSpec", "Dataset", "InMemory", "Normalization"]


@dataclass(frozen=True)
class DataSpec:
    """What the rest of a pipeline must know of the data.

    Arguments:
        event_shape: The shape of one data point.
        num_classes: How many classes the labels y = 0, 1, ... have; None without labels.
        class_names: What the classes are called, if anything.
        image_range: For images: the values of black and white. None for data that are not images.
        paired: Whether the data come in pairs (x0, z).
    """

    event_shape: tuple[int, ...]
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    image_range: tuple[float, float] | None = None
    paired: bool = False


@dataclass(frozen=True)
class Normalization:
    """The affine map between the user's units and the model's, (x - shift) / scale.

    Arguments:
        shift: Shape () or one that broadcasts with an event.
        scale: Likewise, positive.
    """

    shift: Tensor
    scale: Tensor

    @classmethod
    def identity(cls) -> "Normalization":
        """No change of units."""
        return cls(torch.tensor(0.0), torch.tensor(1.0))

    @classmethod
    def standardizing(cls, z: Tensor) -> "Normalization":
        """Mean 0 and variance 1 for the data z: of every feature for shape (n, d), a constant one only shifted; of all
        numbers together for data with more axes, such as images.
        """
        over = 0 if z.ndim == 2 else tuple(range(z.ndim))
        z = z.double()
        scale = torch.where(z.amax(over) == z.amin(over), 1.0, z.std(over, correction=0))
        return cls(z.mean(over).float(), scale.float())

    def normalize(self, x: Tensor) -> Tensor:
        """From the user's units to the model's."""
        x = x if x.is_floating_point() else x.float()
        return (x - self.shift.to(x)) / self.scale.to(x)

    def denormalize(self, x: Tensor) -> Tensor:
        """From the model's units to the user's."""
        x = x if x.is_floating_point() else x.float()
        return x * self.scale.to(x) + self.shift.to(x)

    def log_det(self, event_shape: tuple[int, ...]) -> float:
        """Log |det| of `normalize`, which a density in the user's units gains."""
        return -float(self.scale.double().log().expand(event_shape).sum())


class DataSource(ABC):
    """A distribution of data points that can be drawn from without end.

    Data points are in the user's units; `normalization` says how the model sees them. Data that come in pairs (x0, z)
    give the x0 in their batches, and training takes these instead of draws from the source.
    """

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """Shape and classes."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """`n` independent draws, on the CPU."""

    @cached_property
    def normalization(self) -> Normalization:
        """How the model sees the data; unchanged unless overridden."""
        return Normalization.identity()

    @cached_property
    def source_normalization(self) -> Normalization:
        """How the model sees the x0 of data that come in pairs; unchanged unless overridden."""
        return Normalization.identity()


class Dataset(DataSource):
    """A finite set of data points.

    Training goes through it in a new random order every epoch, and evaluation draws disjoint parts of it.
    """

    ahead: ClassVar[bool] = False
    """Whether `take` takes its time, as where files are read: training then takes the next batch in a thread, while the
    step before it runs. It must not draw from torch's global generator, and must bear calls from two threads."""

    @abstractmethod
    def __len__(self) -> int:
        """How many data points there are."""

    @abstractmethod
    def take(self, index: Tensor) -> Batch:
        """The data points at `index`, int64 of shape (n,)."""

    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """`n` draws with replacement."""
        return self.take(torch.randint(len(self), (n,), generator=generator))


class InMemory(Dataset):
    """A finite set held in memory as tensors; as it stands, the data source for tensors of your own.

    The model sees it standardised; see `Normalization.standardizing`. So it does the x0 of pairs, by a mean and a
    deviation of their own: draws of N(0, I) stay what they are, but for the error of either.

    Tensors of whole numbers, such as bytes of images, are held as they are and drawn as float32.

    Arguments:
        z: Finite real numbers of shape (n, *event), n at least 2.
        y: The labels 0, 1, ..., whole numbers or bool of shape (n,), or None; they become int64.
        x0: Where the path to each z starts, finite real numbers of the shape of z, or None.
        class_names: What the classes are called, in their order: different names, one for every label there may be.
        image_range: For images, z of shape (n, channels, height, width) with 1, 3 or 4 channels: the values of black
            and white, such as (0, 1). No pixel lies beyond them.

    Raises:
        DataError: The tensors, the names or the range are not such.

    Examples:
        >>> Pipeline.builder().data(InMemory(torch.randn(1000, 2)))
        >>> InMemory(images, y, class_names=["cat", "dog"], image_range=(-1, 1))
    """

    def __init__(
        self,
        z: Tensor,
        y: Tensor | None = None,
        x0: Tensor | None = None,
        *,
        class_names: Sequence[str] = (),
        image_range: tuple[float, float] | None = None,
    ) -> None:
        if not isinstance(z, Tensor) or z.ndim < 2 or len(z) < 2:
            shape = tuple(z.shape) if isinstance(z, Tensor) else f"a {type(z).__name__}"
            raise DataError(f"data should be a tensor of shape (n, *event) with at least 2 points; got {shape}")
        _check_real("data", z)
        if x0 is not None:
            if x0.shape != z.shape:
                raise DataError(
                    f"x0 should have the shape of the data, one x0 for each z: {tuple(z.shape)}; got {tuple(x0.shape)}"
                )
            _check_real("x0", x0)
        self.z, self.x0 = z, x0
        self.y = None if y is None else _as_labels(y, len(z))
        self._class_names = _checked_names(class_names, self.y)
        self._image_range = None if image_range is None else _checked_range(image_range, z)

    @property
    def spec(self) -> DataSpec:
        """Shape and classes, read off the tensors and their names."""
        classes = None if self.y is None else len(self._class_names) or int(self.y.max()) + 1
        shape = tuple(self.z.shape[1:])
        return DataSpec(shape, classes, self._class_names, self._image_range, paired=self.x0 is not None)

    @cached_property
    def normalization(self) -> Normalization:
        """Mean 0 and variance 1."""
        return Normalization.standardizing(self.z)

    @cached_property
    def source_normalization(self) -> Normalization:
        """Mean 0 and variance 1 for the x0 too."""
        return Normalization.identity() if self.x0 is None else Normalization.standardizing(self.x0)

    def __len__(self) -> int:
        return len(self.z)

    def take(self, index: Tensor) -> Batch:
        """The data points at `index`, int64 of shape (n,): of their own float type, float32 if they are whole."""
        x0 = None if self.x0 is None else _floating(self.x0[index])
        return Batch(_floating(self.z[index]), select_condition(self.y, index), x0)


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.float()


def _check_real(what: str, x: Tensor) -> None:
    if x.is_complex():
        raise DataError(f"{what} should be real numbers; got {x.dtype}")
    if not x.isfinite().all():
        row = int((~x.flatten(1).isfinite()).any(1).nonzero()[0])
        raise DataError(f"{what} should be finite numbers; row {row} (counting from 0) is not")


def _as_labels(y: Tensor, n: int) -> Tensor:
    """The labels as int64."""
    wanted = f"whole numbers from 0 of shape {(n,)}"
    if not isinstance(y, Tensor):
        raise DataError(f"labels should be a tensor of {wanted}; got a {type(y).__name__}")
    if y.shape != (n,) or y.is_floating_point() or y.is_complex() or int(y.long().min()) < 0:
        raise DataError(f"labels should be {wanted}; got {y.dtype} of shape {tuple(y.shape)}")
    return y.long()


def _checked_names(names: Sequence[str], y: Tensor | None) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"class_names should be a list of texts, a name for each class; got {names!r}")
    names = tuple(map(str, names))  # numpy has texts of its own
    if len(set(names)) < len(names):
        raise DataError(f"class_names should be different; got {', '.join(names)}")
    if names and y is None:
        raise DataError("class_names: these data have no classes: give their labels y")
    if names and y is not None and len(names) <= int(y.max()):
        raise DataError(f"class_names should name the classes 0 to {int(y.max())}; got {len(names)} of them")
    return tuple(names)


def _checked_range(limits: tuple[float, float], z: Tensor) -> tuple[float, float]:
    """The values of black and white, for images that lie between them."""
    if z.ndim != 4 or z.shape[1] not in (1, 3, 4):
        raise DataError(
            f"image_range is of images of shape (n, channels, height, width) with 1, 3 or 4 channels; the data have "
            f"shape {tuple(z.shape)}"
        )
    try:
        black, white = map(float, limits)
    except (TypeError, ValueError):
        black = white = 0.0
    if black == white or not math.isfinite(black - white):
        raise DataError(f"image_range should be two different finite numbers, black and white; got {limits!r}")
    pixels = _floating(z)
    low, high = torch.tensor(sorted((black, white)), dtype=pixels.dtype)  # as the pixels are rounded
    if pixels.min() < low or pixels.max() > high:
        seen = f"{float(pixels.min()):g} to {float(pixels.max()):g}"
        raise DataError(f"image_range is {(black, white)}, and the pixels go from {seen}")
    return black, white
