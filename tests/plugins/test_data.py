"""Files become data, and what is wrong with a file is said with its name and row."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from flowkit_data.array import ArrayFile
from flowkit_data.digits import Digits
from flowkit_data.images import ImageFolder
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import flowkit as fk
from flowkit import DataError, FlowkitWarning

VALUES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32) * [1, 10, 0.1] + [0, 5, -3]
VALUES = VALUES.astype(np.float32)


def write(path, values=VALUES):
    """A file of the type that the suffix says, holding these values."""
    names = [f"c{i}" for i in range(values.shape[1])] if values.ndim == 2 else []
    match path.suffix:
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, z=values)
        case ".csv":
            np.savetxt(path, values, delimiter=",", header=",".join(names), comments="")
        case ".parquet":
            parquet.write_table(pa.table(dict(zip(names, values.T, strict=True))), path)
        case ".safetensors":
            save_file({"z": torch.from_numpy(values)}, path)
    return path


def text(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def refusal(path, **settings):
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(DataError) as caught:
        ArrayFile(path, **settings)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


SUFFIXES = [".npy", ".npz", ".csv", ".parquet", ".safetensors"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_array_file_gives_back_what_was_written(tmp_path, suffix):
    data = ArrayFile(write(tmp_path / f"points{suffix}"))
    assert len(data) == 20
    assert data.spec.event_shape == (3,)
    assert data.spec.num_classes is None
    assert data.z.dtype == torch.float32
    torch.testing.assert_close(data.z, torch.from_numpy(VALUES))
    torch.testing.assert_close(data.take(torch.tensor([4, 2])).z, torch.from_numpy(VALUES[[4, 2]]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_model_sees_standardised_features(tmp_path, suffix):
    data = ArrayFile(write(tmp_path / f"points{suffix}"))
    seen = data.normalization.normalize(data.z)
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.normalization.denormalize(seen), data.z)


def test_a_constant_feature_is_only_shifted(tmp_path):
    values = VALUES.copy()
    values[:, 1] = 0.1
    data = ArrayFile(write(tmp_path / "points.npy", values))
    assert data.normalization.scale[1] == 1
    assert (data.normalization.normalize(data.z)[:, 1] == 0).all()


def test_an_array_with_more_axes_has_one_mean_and_one_deviation(tmp_path):
    values = np.random.default_rng(0).normal(3, 2, size=(5, 2, 4, 4)).astype(np.float32)
    data = ArrayFile(write(tmp_path / "images.npy", values))
    assert data.spec.event_shape == (2, 4, 4)
    assert data.normalization.shift.shape == data.normalization.scale.shape == ()
    seen = data.normalization.normalize(data.z)
    assert seen.mean().item() == pytest.approx(0, abs=1e-5)
    assert seen.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_path_is_relative_to_the_working_folder(tmp_path, monkeypatch):
    write(tmp_path / "points.npy")
    monkeypatch.chdir(tmp_path)
    assert len(ArrayFile(Path("points.npy"))) == 20


def test_one_axis_is_read_as_events_of_one_number(tmp_path):
    assert ArrayFile(write(tmp_path / "x.npy", np.arange(5.0))).spec.event_shape == (1,)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float16, np.float64, ">f8"])
def test_numbers_of_any_real_type_become_float32(tmp_path, dtype):
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    data = ArrayFile(write(tmp_path / "x.npy", np.asfortranarray(values)))
    assert data.z.dtype == torch.float32
    assert data.z.tolist() == [[0, 1], [1, 0], [1, 1]]


def test_bfloat16_tensors_are_read(tmp_path):
    save_file({"z": torch.ones(3, 2, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    assert ArrayFile(tmp_path / "x.safetensors").z.tolist() == [[1, 1]] * 3


# Labels and keys


@pytest.mark.parametrize(
    ("labels", "names", "index"),
    [
        (np.array(["dog", "cat", "dog"]), ("cat", "dog"), [1, 0, 1]),
        (np.array([10, 9, 10]), ("9", "10"), [1, 0, 1]),
        (np.array([2.0, 0.0, 2.0]), ("0", "2"), [1, 0, 1]),
        (np.array(["10", "9", "10"]), ("9", "10"), [1, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array([[True], [False], [True]]), ("0", "1"), [1, 0, 1]),
    ],
)
def test_labels_become_class_indices_in_sorted_order(tmp_path, labels, names, index):
    np.savez(tmp_path / "x.npz", x=VALUES[:3], kind=labels)
    data = ArrayFile(tmp_path / "x.npz", labels="kind")
    assert data.spec.class_names == names
    assert data.spec.num_classes == 2
    assert data.y.dtype == torch.int64
    assert data.take(torch.arange(3)).y.tolist() == index


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_a_table_can_be_the_label(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    table = {"a": [1.0, 2.0, 3.0], "kind": ["dog", "cat", "dog"], "b": [4.0, 5.0, 7.0], "note": list("xyz")}
    if suffix == ".parquet":
        parquet.write_table(pa.table(table), path)
    else:
        rows = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
        text(path, "\n".join([",".join(table), *rows]))
    data = ArrayFile(path, labels="kind")
    assert data.z.tolist() == [[1, 4], [2, 5], [3, 7]]
    assert data.y.tolist() == [1, 0, 1]
    assert data.spec.class_names == ("cat", "dog")
    assert ArrayFile(path, columns=["b", "a"]).z.tolist() == [[4, 1], [5, 2], [7, 3]]


def test_the_key_is_the_only_one_or_a_conventional_one_or_asked_for(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, whatever=VALUES, kind=np.arange(20) % 2)
    assert len(ArrayFile(path, labels="kind")) == 20
    assert "kind, whatever" in refusal(path)
    assert ArrayFile(path, key="kind").spec.event_shape == (1,)
    np.savez(path, other=VALUES[:2], data=VALUES)
    assert len(ArrayFile(path)) == 20
    assert "other" in refusal(path, key="missing")
    assert "both" in refusal(path, key="data", labels="data")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"labels": "y"}, ".npz"), ({"key": "y"}, ".npz"), ({"columns": ["y"]}, "key")],
)
def test_settings_that_do_not_go_with_the_file_are_refused(tmp_path, settings, expected):
    assert expected in refusal(write(tmp_path / "x.npy"), **settings)


def test_a_table_has_no_key(tmp_path):
    assert "columns" in refusal(write(tmp_path / "x.csv"), key="z")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, 1, np.nan]), "row 2 (counting from 0)"),
        (np.array(["a", "", "b"]), "row 1 (counting from 0)"),
        (np.array([0.0, 0.5, 1.0]), "row 1 (counting from 0): the label 0.5"),
        (np.array([0, 1]), "shape (2,)"),
        (np.array([0, 1, 1j]), "complex128"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, expected):
    np.savez(tmp_path / "x.npz", x=VALUES[:3], kind=labels)
    assert expected in refusal(tmp_path / "x.npz", labels="kind")


# Files that cannot be used


def test_a_missing_file_is_named_with_the_folder_looked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(Path("nowhere.npy"))
    assert str(tmp_path) in message


def test_a_folder_is_not_a_file(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    message = refusal(text(tmp_path / "x.xlsx", "1,2"))
    assert all(suffix in message for suffix in SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.touch()
    assert "empty" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_are_refused(tmp_path, suffix):
    assert "0 rows" in refusal(write(tmp_path / f"x{suffix}", VALUES[:0]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_row_is_refused(tmp_path, suffix):
    assert "1 row of data" in refusal(write(tmp_path / f"x{suffix}", VALUES[:1]))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".safetensors"])
@pytest.mark.parametrize("keep", [7, -5])
def test_a_truncated_file_is_refused(tmp_path, suffix, keep):
    path = write(tmp_path / f"x{suffix}")
    path.write_bytes(path.read_bytes()[:keep])
    assert f"cannot be read as a {suffix} file" in refusal(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".safetensors"])
def test_a_file_of_another_format_is_refused(tmp_path, suffix):
    refusal(text(tmp_path / f"x{suffix}", "these are not the bytes of an array\n" * 10))


def test_a_csv_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes("a,b\n1,2\n3,4\n".encode("utf-16"))
    assert "utf-8" in refusal(tmp_path / "x.csv")


def test_pickled_arrays_are_refused_and_nothing_in_them_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.save(tmp_path / "x.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", z=np.array([Trap(), Trap()], dtype=object))
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap()))
    assert "pickled objects, which are refused" in refusal(tmp_path / "x.npy")
    assert "pickled objects, which are refused" in refusal(tmp_path / "x.npz")
    refusal(tmp_path / "raw.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_numbers_that_are_not_finite_are_refused_with_the_first_row(tmp_path, suffix, bad):
    values = VALUES.astype(np.float64)
    values[7, 1] = values[11, 2] = bad
    message = refusal(write(tmp_path / f"x{suffix}", values))
    where = {".csv": "line 9, column 'c1'", ".parquet": "row 7 (counting from 0), column 'c1'"}
    assert where.get(suffix, "row 7 (counting from 0), column 1") in message
    assert "2 of 20 rows" in message


def test_an_element_of_an_image_is_named_by_its_axes(tmp_path):
    values = np.zeros((4, 1, 2, 2))
    values[2, 0, 1, 0] = np.nan
    assert "row 2 (counting from 0), element (0, 1, 0)" in refusal(write(tmp_path / "x.npy", values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.zeros((3, 2), dtype=complex), "complex"),
        (np.array([["a", "b"], ["c", "d"]]), "not numbers"),
        (np.array(1.0), "single number"),
        (np.zeros((3, 0)), "shape (3, 0)"),
    ],
)
def test_arrays_that_hold_no_rows_of_numbers_are_refused(tmp_path, values, expected):
    np.save(tmp_path / "x.npy", values)
    assert expected in refusal(tmp_path / "x.npy")


# Tables


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n3,4\n",
        "1,2\n3,4\n",
        "a;b\r\n1;2\r\n3;4\r\n",
        "a\tb\n1\t2\n3\t4",
        "\ufeffa,b\n1,2\n3,4\n",
        "\n\na,b\n\n1,2\n   \n3,4\n\n",
        '"a","b, in metres"\n"1", 2\n3,4\n',
        '"a;b",b\n1,2\n3,4\n',
    ],
)
def test_ordinary_ways_to_write_a_csv_are_read(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode())
    assert ArrayFile(path).z.tolist() == [[1, 2], [3, 4]]


def test_the_row_numbers_that_pandas_writes_into_a_csv_are_no_feature(tmp_path):
    for content in (",x,y\n0,1,2\n1,3,4\n", '"","0","1"\n7,1,2\n5,3,4\n'):
        with pytest.warns(FlowkitWarning, match=r"x\.csv: the first column has no name and is left out"):
            data = ArrayFile(text(tmp_path / "x.csv", content))
        assert data.z.tolist() == [[1, 2], [3, 4]]
    assert ArrayFile(tmp_path / "x.csv", columns=["", "1"]).z.tolist() == [[7, 2], [5, 4]]


@pytest.mark.filterwarnings("error")
def test_a_column_of_text_without_a_name_is_left_out_as_others_are(tmp_path):
    path = text(tmp_path / "x.csv", ",x,y\nmon,1,2\ntue,3,4\n")
    assert ArrayFile(path).z.tolist() == [[1, 2], [3, 4]]


def test_a_first_line_that_counts_the_columns_is_their_header(tmp_path):
    path = text(tmp_path / "x.csv", "0,1,2\n1,2,0\n3,4,1\n")
    with pytest.warns(FlowkitWarning, match=r"x\.csv: its first line counts the columns, and is taken for a header"):
        assert ArrayFile(path, labels="2").z.tolist() == [[1, 2], [3, 4]]
    with pytest.warns(FlowkitWarning, match="counts the columns"):
        assert ArrayFile(path, columns=["1", "0"]).z.tolist() == [[2, 1], [4, 3]]
    for content in ("0.0,1.0\n3,4\n", "1,2\n3,4\n"):
        assert len(ArrayFile(text(path, content))) == 2
    assert ArrayFile(text(path, "0\n1\n2\n")).z.tolist() == [[0], [1], [2]]  # a single column may begin with 0


def test_columns_without_a_header_are_called_by_their_number(tmp_path):
    path = text(tmp_path / "x.csv", "1,2,cat\n3,4,dog\n")
    data = ArrayFile(path, labels="2")
    assert data.z.tolist() == [[1, 2], [3, 4]]
    assert data.spec.class_names == ("cat", "dog")


def test_a_header_that_is_partly_numbers_is_known_by_the_names_asked_for(tmp_path):
    path = text(tmp_path / "x.csv", "kind,2020,2021\n0,1,2\n1,3,4\n")
    assert ArrayFile(path, labels="kind").z.tolist() == [[1, 2], [3, 4]]
    assert "line 1, column '0': 'kind'" in refusal(path)


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        ("a,b\n1,2\n\n3\n", {}, ["line 4", "1 cells"]),
        ("a,b\n1,2\n3,4,5\n", {}, ["line 3", "3 cells"]),
        ("a,b\n1,2\n3,x4\n", {}, ["line 3", "column 'b'", "'x4'"]),
        ("a,b\n1,2\n3,\n5,\n", {}, ["line 3, column 'b': the cell is empty; 2 of 3 are: fill them"]),
        ("1,2\n,4\n", {}, ["line 2", "column '0'"]),
        (",2\n3,4\n", {}, ["line 1", "column '0'"]),
        ("a;b\n1,5;2\n2,5;3\n", {}, ["line 2", "'1,5'"]),
        ("a,b\nx,y\nz,w\n", {}, ["no column of numbers"]),
        ("a,b\n1,2\n3,4\n", {"columns": ["a", "c"]}, ["no column 'c'", "a, b"]),
        ("a,b\n1,x\n3,y\n", {"columns": ["b"]}, ["line 2", "'x'"]),
        ("a,b\n1,2\n3,4\n", {"columns": ["a", "a"]}, ["'a'", "twice"]),
        ("a,b\n1,2\n3,4\n", {"columns": []}, ["empty list"]),
        ("a,b\n1,2\n3,4\n", {"labels": "c"}, ["no column 'c'", "labels"]),
        ("a,b,b\n1,2,2\n3,4,4\n", {"labels": "b"}, ["2 columns 'b'", "labels"]),
        ("a,b\n1,2\n3,4\n", {"labels": "b", "columns": ["a", "b"]}, ["'b'", "label too"]),
        ("a,b\n1,x\n3,\n", {"labels": "b"}, ["line 3", "label is missing"]),
        ("a,b\n1,0\n3,nan\n", {"labels": "b"}, ["line 3", "label is missing"]),
        ('a,b\n1,2\n3,"4\n', {}, ["line 3"]),
        ("\n  \n", {}, ["empty"]),
    ],
)
def test_a_csv_that_cannot_be_meant_is_refused_with_line_and_column(tmp_path, content, settings, expected):
    message = refusal(text(tmp_path / "x.csv", content), **settings)
    assert [part for part in expected if part not in message] == [], message


def test_lines_are_counted_as_an_editor_does_when_a_cell_spans_several(tmp_path):
    path = text(tmp_path / "x.csv", 'note,b\n"two\nlines",1\nz,bad\n')
    assert "line 4" in refusal(path)


def test_a_null_in_a_parquet_column_is_refused_with_its_row(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": [1.0, None, 3.0], "b": [1, 2, 3], "kind": ["x", "y", None]}), path)
    assert "row 1 (counting from 0), column 'a'" in refusal(path)
    assert "row 2 (counting from 0): the label" in refusal(path, columns=["b"], labels="kind")


def test_parquet_columns_of_text_are_refused_where_asked_for(tmp_path):
    parquet.write_table(pa.table({"a": [1, 2], "note": ["x", "y"]}), tmp_path / "x.parquet")
    assert "'note'" in refusal(tmp_path / "x.parquet", columns=["note"])
    assert "no column 'c'" in refusal(tmp_path / "x.parquet", labels="c")


def test_the_index_that_pandas_stores_is_no_feature(tmp_path):
    parquet.write_table(pa.table({"a": [1, 2], "__index_level_0__": [5, 6]}), tmp_path / "x.parquet")
    assert ArrayFile(tmp_path / "x.parquet").z.tolist() == [[1], [2]]


def test_parquet_without_pyarrow_names_the_extra_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'flowkit-torch[parquet]'" in refusal(path)


# Images


def test_digits_are_those_of_scikit_learn():
    data, theirs = Digits(), load_digits()
    assert data.spec.event_shape == (1, 8, 8)
    assert data.spec.num_classes == 10
    torch.testing.assert_close(data.z[:, 0] * 16, torch.tensor(theirs.images).float())
    assert data.y.tolist() == theirs.target.tolist()
    seen = data.normalization.normalize(data.z)
    assert (seen.min(), seen.max()) == (-1, 1)
    assert Digits(labels=False).spec.num_classes is None
    assert Digits(labels=False).take(torch.arange(3)).y is None


def picture(path, size=(6, 4), colour=(255, 0, 128), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def image_refusal(path, *named, **settings):
    with pytest.raises(DataError) as caught:
        ImageFolder(path, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert [str(part) for part in named if str(part) not in message] == [], message


def test_a_folder_of_images_gives_back_its_pixels_in_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 4, 6, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    text(tmp_path / "notes.txt", "ignored")
    text(tmp_path / ".hidden.png", "ignored")
    (tmp_path / "an empty folder").mkdir()
    data = ImageFolder(tmp_path)
    assert len(data) == 5
    assert data.spec.event_shape == (3, 4, 6)
    assert data.spec.image_range == (0, 1)
    assert data.spec.num_classes is None
    z, y = data.take(torch.tensor([3, 1]))
    assert y is None
    assert torch.equal((z * 255).round().byte(), torch.from_numpy(pixels[[3, 1]]).permute(0, 3, 1, 2))
    seen = data.normalization.normalize(z)
    assert seen.min() >= -1
    assert seen.max() <= 1
    torch.testing.assert_close(data.normalization.denormalize(seen), z)


def test_subfolders_are_classes(tmp_path):
    picture(tmp_path / "dog" / "1.png", colour=(0, 0, 0))
    picture(tmp_path / "cat" / "1.png", colour=(255, 255, 255))
    picture(tmp_path / "cat" / "2.PNG", colour=(255, 255, 255))
    data = ImageFolder(tmp_path)
    assert data.spec.class_names == ("cat", "dog")
    z, y = data.take(torch.arange(3))
    assert y.tolist() == [0, 0, 1]
    assert z.mean((1, 2, 3)).tolist() == [1, 1, 0]
    unlabelled = ImageFolder(tmp_path, labels=False)
    assert unlabelled.spec.num_classes is None
    assert unlabelled.take(torch.arange(3)).y is None


def test_size_crops_the_centre_and_mode_chooses_the_channels(tmp_path):
    image = np.zeros((4, 12, 3), dtype=np.uint8)
    image[:, 4:8] = 255
    Image.fromarray(image).save(tmp_path / "wide.png")
    picture(tmp_path / "tall.png", size=(4, 9))
    data = ImageFolder(tmp_path, size=4, mode="L")
    assert data.spec.event_shape == (1, 4, 4)
    assert (data.take(torch.tensor([1])).z == 1).all()
    assert ImageFolder(tmp_path, size=2).spec.event_shape == (3, 2, 2)


def test_images_of_several_sizes_are_refused_without_a_size(tmp_path):
    first, second = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", size=(5, 5))
    image_refusal(tmp_path, first, second, "data.size", "5 x 5", "6 x 4")


def test_a_missing_image_folder_is_named_with_the_folder_looked_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_refusal(Path("nowhere"), "nowhere", tmp_path)


def test_a_file_is_no_folder_of_images(tmp_path):
    path = picture(tmp_path / "a.png")
    image_refusal(path, path, "is a file")


def test_a_folder_without_images_is_refused(tmp_path):
    text(tmp_path / "notes.txt", "hello")
    image_refusal(tmp_path, tmp_path, "no images", ".png")


def test_an_empty_class_folder_is_named(tmp_path):
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "dog").mkdir()
    image_refusal(tmp_path, tmp_path / "dog")


def test_images_beside_class_folders_are_refused(tmp_path):
    picture(tmp_path / "stray.png")
    picture(tmp_path / "cat" / "1.png")
    image_refusal(tmp_path, tmp_path, "stray.png", "cat")


def test_a_corrupt_image_is_named(tmp_path):
    picture(tmp_path / "a.png")
    broken = picture(tmp_path / "b.png", size=(50, 50))
    broken.write_bytes(broken.read_bytes()[:60])
    image_refusal(tmp_path, broken, "cannot be read")
    image_refusal(tmp_path, text(broken, "not an image"))


def test_an_image_of_16_bits_is_refused(tmp_path):
    path = picture(tmp_path / "a.png", mode="I;16", colour=40_000)
    image_refusal(tmp_path, path, "8 bits")


def test_digits_that_float32_would_lose_are_refused(tmp_path):
    noise = np.random.default_rng(0).normal(size=(100, 2))
    np.save(tmp_path / "far.npy", noise + np.array([0.0, 1e8]))
    assert "column 1: its values near 1e+08 vary by" in refusal(tmp_path / "far.npy")
    np.save(tmp_path / "near.npy", noise + np.array([0.0, 1e4]))
    assert ArrayFile(tmp_path / "near.npy").z.shape == (100, 2)


@pytest.mark.parametrize(
    ("dtype", "offset"),
    [
        (np.int32, 2_000_000_000),
        (np.uint32, 4_000_000_000),
        (np.int64, 2**60),  # digits that float64 loses too
        (np.uint64, 2**64 - 21),
        (np.float64, 1e9),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_digits_are_lost_by_numbers_of_every_type_that_has_more_of_them(tmp_path, suffix, dtype, offset):
    counted = np.arange(20).astype(dtype)
    values = np.stack([counted, counted + np.array(offset, dtype)], axis=1)
    assert len(np.unique(values.astype(np.float32)[:, 1])) == 1
    assert "values near" in refusal(write(tmp_path / f"x{suffix}", values))
    assert "column 1" in refusal(tmp_path / f"x{suffix}")


def test_digits_of_images_are_lost_too(tmp_path):
    values = 1e9 + np.random.default_rng(0).normal(size=(10, 1, 4, 4))
    assert f"{tmp_path / 'x.npy'}: its values near 1e+09 vary by" in refusal(write(tmp_path / "x.npy", values))


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64, np.float32])
def test_numbers_that_float32_holds_lose_nothing_however_far_they_are(tmp_path, dtype):
    values = np.stack([np.arange(20) * 2 + 2**24, np.full(20, 123_456_789)], axis=1)  # float32 holds even ones there
    data = ArrayFile(write(tmp_path / "x.npy", values.astype(dtype)))
    assert np.array_equal(data.z[:, 0].numpy(), values[:, 0])


def test_an_array_of_images_says_what_is_black_and_white(tmp_path):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).uniform(0, 255, (16, 3, 4, 4)).astype("float32"))
    builder = fk.Pipeline.builder().network("unet", width=8).evaluation(metrics=[]).sampling(steps=1)
    builder = builder.training(steps=1, batch_size=4)
    plain = builder.data("array", path=tmp_path / "z.npy").build()
    with pytest.raises(fk.ConfigError, match=r"did not say which values are black and white.* data\.image_range"):
        plain.sample_to(tmp_path / "plain", 2)
    builder.data("array", path=tmp_path / "z.npy", image_range=[0, 255]).build().sample_to(tmp_path / "pictures", 2)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
