"""A right data source, and one wrong in each way that a check of data sources looks for."""

from functools import cached_property

import torch

from flowkit import Batch, Dataset, DataSource, DataSpec, Normalization


class Right(DataSource):
    """Labelled points around 0."""

    spec = DataSpec((2,), 3, ("a", "b", "c"), image_range=(-9.0, 9.0))

    def draw(self, n, generator=None):
        y = torch.randint(3, (n,), generator=generator)
        return Batch(torch.randn(n, 2, generator=generator).clamp(-9, 9), y)


class RightSet(Dataset):
    """Ten points."""

    spec = DataSpec((2,))

    def __init__(self):
        self._z = torch.arange(20.0).reshape(10, 2)

    def __len__(self):
        return len(self._z)

    def take(self, index):
        return Batch(self._z[index])


class OneMore(Right):
    def draw(self, n, generator=None):
        return super().draw(n + 1, generator)


class OtherShape(Right):
    spec = DataSpec((3,), 3)


class WithHoles(Right):
    def draw(self, n, generator=None):
        z, y = super().draw(n, generator)
        return Batch(torch.where(z > 1.5, torch.nan, z), y)


class LabelsFromOne(Right):
    def draw(self, n, generator=None):
        z, y = super().draw(n, generator)
        return Batch(z, y + 1)


class Global(Right):
    def draw(self, n, generator=None):
        return super().draw(n)


class Restarting(Right):
    def draw(self, n, generator=None):
        return super().draw(n, torch.Generator().manual_seed(generator.initial_seed()))


class OfNoScale(Right):
    @cached_property
    def normalization(self):
        return Normalization(torch.tensor(0.0), torch.tensor([1.0, 0.0]))


class Huge(Right):
    spec = DataSpec((2,), 3)

    def draw(self, n, generator=None):
        z, y = super().draw(n, generator)
        return Batch(1000 * z, y)


class OutOfRange(Right):
    spec = DataSpec((2,), 3, image_range=(0.0, 1.0))


class Views(RightSet):
    def draw(self, n, generator=None):
        return Batch(self._z[:n])


class ShortByOne(RightSet):
    def __len__(self):
        return len(self._z) - 1


class Sorted(RightSet):
    def take(self, index):
        return Batch(self._z[index.sort().values])


RIGHT = [Right(), RightSet()]
MUTANTS = {
    "draws_as_many_as_asked": OneMore(),
    "draws_have_the_shape_of_the_spec": OtherShape(),
    "draws_are_finite": WithHoles(),
    "labels_are_those_of_the_spec": LabelsFromOne(),
    "draws_follow_the_generator": Global(),
    "draws_go_on": Restarting(),
    "normalization_is_invertible": OfNoScale(),
    "normalized_draws_are_of_order_one": Huge(),
    "images_are_within_their_range": OutOfRange(),
    "keeps_its_points_to_itself": Views(),
    "take_agrees_with_len": ShortByOne(),
    "take_gives_the_points_asked_for": Sorted(),
}
