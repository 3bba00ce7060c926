"""What every data source must do."""

import torch

from ..interfaces.data import Dataset, DataSource
from .check import CheckList, NotApplicable, Subject, require, require_close, seeded

__all__ = ["CHECKS"]

CHECKS = CheckList()


@CHECKS.add(hint="`draw(n, generator)` returns a Batch of exactly n points, and n may be 1")
def draws_as_many_as_asked(subject: Subject) -> None:
    """`draw(n)` gives n points."""
    for n in (1, 2, 33):
        z, y = subject.component.draw(n, seeded(n))
        require(len(z) == n, f"draw({n}) gives {len(z)} points")
        if isinstance(y, torch.Tensor):
            require(len(y) == n, f"draw({n}) gives {len(y)} conditions y")


@CHECKS.add(hint="`spec.event_shape` is the shape of one point: the network is built for it")
def draws_have_the_shape_of_the_spec(subject: Subject) -> None:
    """A point has the shape `spec.event_shape`."""
    shape = subject.component.spec.event_shape
    seen = tuple(subject.component.draw(3, seeded(0)).z.shape[1:])
    require(len(shape) > 0, "spec.event_shape is empty: a point has at least one axis, as in (1,)")
    require(seen == tuple(shape), f"spec.event_shape is {tuple(shape)}, and points are drawn of shape {seen}")


@CHECKS.add(hint="leave out or repair rows that are not numbers where the data are read")
def draws_are_finite(subject: Subject) -> None:
    """Points are finite numbers."""
    z = subject.component.draw(64, seeded(0)).z
    bad = int((~z.double().flatten(1).isfinite()).any(1).sum())
    require(bad == 0, f"{bad} of 64 points hold a NaN or an infinity")


@CHECKS.add(hint="labels are whole numbers 0, 1, ..., num_classes - 1; without classes, `spec.num_classes` is None")
def labels_are_those_of_the_spec(subject: Subject) -> None:
    """Labels go from 0 to `spec.num_classes` - 1."""
    spec, y = subject.component.spec, subject.component.draw(256, seeded(0)).y
    if spec.num_classes is None:
        whole = isinstance(y, torch.Tensor) and not y.is_floating_point()
        require(not whole, "draws carry whole numbers y as their labels, and spec.num_classes is None")
        raise NotApplicable("it has no classes")
    require(isinstance(y, torch.Tensor), f"spec.num_classes is {spec.num_classes}, and draws carry no labels y")
    require(y.shape == (256,), f"the labels of 256 points have shape {tuple(y.shape)} instead of (256,)")
    require(not y.is_floating_point() and y.dtype.is_signed, f"labels are of type {y.dtype}; use int64")
    seen = (int(y.min()), int(y.max()))
    require(
        seen[0] >= 0 and seen[1] < spec.num_classes,
        f"spec.num_classes is {spec.num_classes}, and labels go from {seen[0]} to {seen[1]}",
    )
    names = len(spec.class_names)
    require(names in (0, spec.num_classes), f"there are {names} class_names for {spec.num_classes} classes")


@CHECKS.add(hint="draw from the generator that is passed in: `torch.randn(n, 2, generator=generator)`")
def draws_follow_the_generator(subject: Subject) -> None:
    """The same seed gives the same points, and another seed others."""
    first, again, other = (subject.component.draw(16, seeded(seed)).z for seed in (1, 1, 2))
    require(torch.equal(first, again), "two generators of one seed give different points")
    require(not torch.equal(first, other), "generators of different seeds give the same points")


@CHECKS.add(hint="do not seed a generator inside `draw`: training draws from one generator again and again")
def draws_go_on(subject: Subject) -> None:
    """One generator gives other points the second time."""
    generator = seeded(0)
    first, second = (subject.component.draw(16, generator).z for _ in range(2))
    require(not torch.equal(first, second), "two draws from one generator are the same points")


@CHECKS.add(hint="`Normalization(shift, scale)`: finite, scale > 0, both of a shape that broadcasts with a point")
def normalization_is_invertible(subject: Subject) -> None:
    """Into the model's units and back, a point is what it was."""
    z, normalization = subject.component.draw(64, seeded(0)).z.double(), subject.component.normalization
    require(bool((normalization.scale > 0).all()), f"the least scale is {float(normalization.scale.min()):g}, not > 0")
    there = normalization.normalize(z)
    require(there.shape == z.shape, f"points of shape {tuple(z.shape)} are normalised to {tuple(there.shape)}")
    # float32 shift and scale: an error of 2^-24 relative to the larger of the point and the shift
    size = max(1.0, float(z.abs().max()), float(normalization.shift.abs().max()))
    require_close(normalization.denormalize(there) / size, z / size, 1e-6, "a point, normalised and back")


@CHECKS.add(hint="networks want numbers of order 1: override `normalization`, as `Normalization.standardizing(z)` does")
def normalized_draws_are_of_order_one(subject: Subject) -> None:
    """The model sees numbers that are neither tiny nor huge."""
    z = subject.component.draw(512, seeded(0)).z
    if not z.is_floating_point():
        raise NotApplicable("its points are whole numbers")
    z = subject.component.normalization.normalize(z.double())
    size = float(z.square().mean().sqrt())
    require(0.02 < size < 50, f"normalised points have a root mean square of {size:.3g}")


@CHECKS.add(hint="`spec.image_range` holds the values of black and white in the units that `draw` returns")
def images_are_within_their_range(subject: Subject) -> None:
    """Pixels lie between black and white."""
    limits = subject.component.spec.image_range
    if limits is None:
        raise NotApplicable("its points are no images: spec.image_range is None")
    z = subject.component.draw(64, seeded(0)).z.double()
    low, high = float(z.min()), float(z.max())
    require(
        min(limits) <= low and high <= max(limits), f"spec.image_range is {limits}, and pixels go from {low} to {high}"
    )


@CHECKS.add(hint="return copies, not views: training changes what it is given")
def keeps_its_points_to_itself(subject: Subject) -> None:
    """Writing into drawn points does not change the data."""
    z = subject.component.draw(16, seeded(0)).z
    before = z.clone()
    if not torch.equal(before, subject.component.draw(16, seeded(0)).z):
        raise NotApplicable("no draw comes twice: see draws_follow_the_generator")
    z.zero_()
    after = subject.component.draw(16, seeded(0)).z
    require(torch.equal(before, after), "after writing into a draw, the same draw comes back changed")


@CHECKS.add(hint="an epoch is `take` of every index from 0 to `len(self)` - 1")
def take_agrees_with_len(subject: Subject) -> None:
    """Every index below `len` can be taken."""
    data = _finite(subject)
    require(len(data) > 1, f"len is {len(data)}: a data set has at least 2 points")
    ends = data.take(torch.tensor([0, len(data) - 1])).z
    require(len(ends) == 2, f"taking 2 points gives {len(ends)}")
    try:
        beyond = len(data.take(torch.tensor([len(data)])).z)
    except Exception:
        return
    raise AssertionError(f"len is {len(data)}, and taking index {len(data)} gives {beyond} point instead of an error")


@CHECKS.add(
    hint="`take(index)` returns the points at `index` in that order, with their own conditions, repeated ones too"
)
def take_gives_the_points_asked_for(subject: Subject) -> None:
    """Point i is the same whatever else is taken with it."""
    data = _finite(subject)
    index = torch.tensor([len(data) - 1, 0, len(data) // 2, 0])
    z, y = data.take(index)
    for row, i in enumerate(index):
        alone = data.take(i[None])
        what = f"point {int(i)}, taken with others"
        require_close(z[row : row + 1], alone.z, 0.0, what)
        if isinstance(y, torch.Tensor) and isinstance(alone.y, torch.Tensor):
            require(
                torch.equal(y[row : row + 1], alone.y), f"{what}: its condition is {y[row]} instead of {alone.y[0]}"
            )


def _finite(subject: Subject) -> Dataset:
    data: DataSource = subject.component
    if not isinstance(data, Dataset):
        raise NotApplicable("it is no finite Dataset")
    return data
