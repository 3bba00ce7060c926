"""Tensors of one's own as data: what is taken, what it becomes, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

import flowkit as fk

WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
PIXELS = torch.randint(0, 256, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("dtype", WHOLE)
def test_labels_of_any_whole_type_are_trained_on(tiny, tmp_path, dtype):
    y = torch.arange(64) % 2
    data = fk.InMemory(torch.randn(64, 2), y.to(dtype))
    assert data.y.dtype == torch.int64
    assert torch.equal(data.y, y)
    assert data.spec.num_classes == 2
    pipeline = tiny.data(data).training(steps=2, condition_dropout=0.5).build().fit(tmp_path / "run")
    assert pipeline.sample(4).isfinite().all()


def test_labels_that_are_no_tensor_are_refused():
    with pytest.raises(fk.DataError, match=r"labels should be a tensor .* of shape \(10,\); got a list"):
        fk.InMemory(torch.randn(10, 2), [0] * 10)


@pytest.mark.parametrize("dtype", [*WHOLE, torch.uint16])
def test_whole_numbers_are_held_as_they_are_and_drawn_as_float32(dtype):
    z = torch.arange(20).reshape(10, 2).to(dtype)
    data = fk.InMemory(z, x0=z)
    batch = data.take(torch.arange(10))
    assert data.z.dtype == dtype
    assert batch.z.dtype == batch.x0.dtype == torch.float32
    assert torch.equal(batch.z, z.float())
    assert fk.InMemory(z.double()).take(torch.arange(2)).z.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.float64])
def test_a_run_on_numbers_of_any_type_is_reported(tiny, tmp_path, dtype):
    z = torch.randint(0, 100, (200, 2), generator=torch.Generator().manual_seed(0)).to(dtype)
    pipeline = tiny.data(fk.InMemory(z)).training(steps=2).build().fit(tmp_path / "run")
    (evaluation,) = pipeline.report(tmp_path / "run").evaluations
    assert np.isfinite(evaluation.value)


def test_complex_numbers_are_refused():
    with pytest.raises(fk.DataError, match=r"data should be real numbers; got torch\.complex64"):
        fk.InMemory(torch.randn(10, 2, dtype=torch.complex64))


def test_images_with_names_and_a_range_are_written_as_pictures_of_their_class(tmp_path):
    data = fk.InMemory(PIXELS, torch.arange(40) % 2, class_names=["cat", "dog"], image_range=(0, 255))
    assert data.spec == fk.DataSpec((1, 4, 4), 2, ("cat", "dog"), (0.0, 255.0))
    builder = fk.Pipeline.builder().data(data).network("mlp", width=8, depth=1).training(steps=2)
    pipeline = builder.sampling("euler", steps=1).build().fit(tmp_path / "run")
    assert fk.Pipeline.load(tmp_path / "run").spec == data.spec
    pipeline.sample_to(tmp_path / "pets", 4)
    assert sorted(str(file.relative_to(tmp_path / "pets")) for file in (tmp_path / "pets").rglob("*.png")) == [
        "cat/0.png",
        "cat/2.png",
        "dog/1.png",
        "dog/3.png",
    ]
    with Image.open(tmp_path / "pets/cat/0.png") as picture:
        drawn = np.asarray(picture)
    expected = pipeline.sample(1)[0, 0].clamp(0, 255)
    assert np.abs(drawn - expected.numpy()).max() < 0.51  # half a level, and rounding


def test_there_may_be_names_of_classes_without_points():
    data = fk.InMemory(torch.randn(4, 2), torch.zeros(4).long(), class_names=["a", "b", "c"])
    assert data.spec.num_classes == 3


def test_a_range_that_is_no_number_of_float32_holds_its_ends():
    z = torch.linspace(0, 0.1, 32).reshape(2, 1, 4, 4)  # float32(0.1) is larger than 0.1
    assert fk.InMemory(z, image_range=(0.1, 0)).spec.image_range == (0.1, 0.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"class_names": ["a", "b"]}, "class_names: these data have no classes"),
        ({"y": 2, "class_names": ["a", "b"]}, "class_names should name the classes 0 to 2; got 2 of them"),
        ({"y": 1, "class_names": ["a", "a"]}, "class_names should be different; got a, a"),
        ({"y": 1, "class_names": "ab"}, "class_names should be a list of texts, a name for each class; got 'ab'"),
        ({"y": 1, "class_names": ["a", ""]}, "class_names should be a list of texts"),
        ({"y": 1, "class_names": [0, 1]}, "class_names should be a list of texts"),
        ({"image_range": (0, 1)}, r"image_range is \(0.0, 1.0\), and the pixels go from 0 to 255"),
        ({"image_range": (1, 1)}, "two different finite numbers, black and white"),
        ({"image_range": (0, float("inf"))}, "two different finite numbers, black and white"),
        ({"image_range": 255}, "two different finite numbers, black and white; got 255"),
        ({"z": PIXELS[:, 0], "image_range": (0, 255)}, r"1, 3 or 4 channels; the data have shape \(40, 4, 4\)"),
        ({"z": PIXELS.repeat(1, 2, 1, 1), "image_range": (0, 255)}, "1, 3 or 4 channels"),
    ],
)
def test_names_and_ranges_that_cannot_be_meant_are_refused(settings, expected):
    settings = dict(settings)
    z, last = settings.pop("z", PIXELS), settings.pop("y", None)
    with pytest.raises(fk.DataError, match=expected):
        fk.InMemory(z, None if last is None else torch.full((40,), last), **settings)


def test_whole_numbers_have_no_whole_units():
    units = fk.Normalization(torch.tensor(0.5), torch.tensor(1.5))
    assert units.denormalize(torch.tensor([2])).tolist() == [3.5]
    assert units.denormalize(units.normalize(torch.tensor([2]))).tolist() == [2.0]
