"""Samples into a file: the same whatever the batch size, the number of processes, or how often it had to be begun."""

import csv
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import flowkit as fk
from flowkit.export import write_samples
from flowkit.locks import exclusive
from flowkit.pipeline.draws import Draws
from flowkit.pipeline.stream import SampleParts
from flowkit.plugins import PluginManager, hookimpl
from flowkit.plugins.hookspecs import FlowkitHooks

N = 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    builder = fk.Pipeline.builder().data("moons", labels=True).network("mlp", width=16, depth=2)
    builder = builder.training(steps=20, batch_size=32).sampling("euler_maruyama", steps=4, batch_size=512)
    folder = tmp_path_factory.mktemp("runs") / "moons"
    builder.build().fit(folder)
    return folder


@pytest.fixture
def pipeline(folder):
    return fk.Pipeline.load(folder)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".csv"])
def test_the_file_holds_what_sample_gives_and_nothing_is_left_beside_it(pipeline, suffix, tmp_path):
    file = tmp_path / f"x{suffix}"
    pipeline.sample_to(file, N, seed=3)
    x, y = pipeline.sample(N, seed=3), pipeline.labels(N)
    names = [pipeline.spec.class_names[label] for label in y]
    assert os.listdir(tmp_path) == [file.name]
    if suffix == ".npy":
        assert np.array_equal(np.load(file), x)
    elif suffix == ".npz":
        assert np.array_equal(np.load(file)["x"], x)
        assert np.load(file)["y"].tolist() == names
    elif suffix == ".safetensors":
        found = load_file(file)
        assert torch.equal(found["x"], x)
        assert torch.equal(found["y"], y)
    else:
        header, *rows = csv.reader(file.open())
        assert header == ["x0", "x1", "label"]
        assert torch.equal(torch.tensor([[float(v) for v in row[:2]] for row in rows]), x)
        assert [row[2] for row in rows] == names


def test_hooks_hear_of_the_file(folder, tmp_path):
    manager = PluginManager.discover()
    told = []

    class Watch:
        @hookimpl
        def flowkit_sampling_ended(self, context):
            told.append((context.samples, context.file))

    manager.add(Watch(), "watch")
    fk.Pipeline.load(folder, plugins=manager).sample_to(tmp_path / "x.npy", 3)
    assert told == [(None, tmp_path / "x.npy")]


def test_the_hook_names_all_that_it_is_called_by(folder, tmp_path):
    manager = PluginManager.discover()
    told = []

    class Watch:
        @hookimpl
        def flowkit_sampling_started(self, context):
            told.append(context.n)

    manager.add(Watch(), "watch")
    pipeline = fk.Pipeline.load(folder, plugins=manager)
    for n, call in enumerate(("sample", "sample_to", "trajectory"), 1):
        getattr(pipeline, call)(*([tmp_path / "x.npy"] if call == "sample_to" else []), n)
        assert f"`{call}`" in FlowkitHooks.flowkit_sampling_started.__doc__
    assert told == [1, 2, 3]


class Crash(Exception):
    pass


@pytest.fixture
def starts(monkeypatch):
    """The batches that are drawn; the third of them crashes, once."""
    drawn, batch = [], Draws.batch

    def counted(self, start, count):
        drawn.append(start)
        if len(drawn) == 3:
            raise Crash
        return batch(self, start, count)

    monkeypatch.setattr(Draws, "batch", counted)
    return drawn


def test_what_was_drawn_before_a_crash_is_not_drawn_again(pipeline, starts, tmp_path):
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    assert not (tmp_path / "x.npy").exists()
    cost = fk.Cost()
    pipeline.sample_to(tmp_path / "x.npy", N, cost=cost)
    assert starts == [0, 512, 1024, 1024]
    assert cost.batches == 1
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(N))


@pytest.mark.parametrize("change", ["seed", "sampling", "weights", "labels", "n"])
def test_parts_of_other_samples_are_not_used(pipeline, starts, change, tmp_path):
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    n, arguments = N, {}
    if change == "weights":
        next(pipeline.model.parameters()).data.add_(0.1)
    elif change == "n":
        n = N - 1
    else:
        arguments = {"seed": {"seed": 1}, "sampling": {"steps": 5}, "labels": {"y": 1}}[change]
    with pytest.warns(fk.FlowkitWarning, match=r"x\.npy\.parts: what is there is of other samples"):
        pipeline.sample_to(tmp_path / "x.npy", n, **arguments)
    assert starts[3:] == [0, 512, 1024]
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(n, **arguments))


class Plus(fk.Integrator):
    """Adds a number to x0: an object that no plugin has registered, and that tells nobody its number."""

    order = 0

    def __init__(self, number):
        self._number = number

    def step(self, dynamics, x, t, s, generator=None):
        return x + self._number


def test_samples_by_another_object_of_the_same_class_are_not_mixed(pipeline, tmp_path, monkeypatch):
    def crash(self, start, x, add=SampleParts.add):
        if start > 0:
            raise KeyboardInterrupt
        add(self, start, x)

    with monkeypatch.context() as patched:
        patched.setattr(SampleParts, "add", crash)
        with pytest.raises(KeyboardInterrupt):
            pipeline.sample_to(tmp_path / "x.npy", N, integrator=Plus(1.0), diffusion=None)
    with pytest.warns(fk.FlowkitWarning, match="of other samples, or damaged, and is drawn anew"):
        pipeline.sample_to(tmp_path / "x.npy", N, integrator=Plus(2.0), diffusion=None)
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(N, integrator=Plus(2.0), diffusion=None))


def test_what_was_drawn_is_kept_when_batches_become_smaller(pipeline, starts, tmp_path):
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    pipeline.sample_to(tmp_path / "x.npy", N, batch_size=256)
    assert starts[3:] == [1024, 1280]
    assert np.allclose(np.load(tmp_path / "x.npy"), pipeline.sample(N), atol=1e-5)  # but for rounding


def test_a_part_of_another_length_or_of_other_samples_is_drawn_again(pipeline, starts, tmp_path):
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    first, second = sorted((tmp_path / "x.npy.parts").glob("*.safetensors"))
    save_file({"x": load_file(first)["x"][:-1].contiguous()}, first)
    second.rename(second.with_name("000000000512-0123456789abcdef.safetensors"))
    pipeline.sample_to(tmp_path / "x.npy", N)
    assert starts[3:] == [0, 512, 1024]
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(N))


def test_one_process_at_a_time_writes_a_file(pipeline, tmp_path):
    message = rf"process {os.getpid()} on .* is writing .*x\.npy: wait for it"
    with exclusive(tmp_path / "x.npy.lock", "busy"), pytest.raises(fk.ConfigError, match=message):
        pipeline.sample_to(tmp_path / "x.npy", N)
    pipeline.sample_to(tmp_path / "x.npy", N)
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".csv"])
def test_a_file_that_cannot_be_written_to_its_end_leaves_none_and_keeps_what_was_drawn(
    pipeline, suffix, tmp_path, monkeypatch
):
    batches = SampleParts.batches

    def full(self, *arguments):
        yield next(batches(self, *arguments))
        raise OSError(28, "No space left on device")

    file = tmp_path / f"x{suffix}"
    with monkeypatch.context() as patch:
        patch.setattr(SampleParts, "batches", full)
        with pytest.raises(OSError, match="No space left"):
            pipeline.sample_to(file, N)
    assert os.listdir(tmp_path) == [f"{file.name}.parts"]
    cost = fk.Cost()
    pipeline.sample_to(file, N, cost=cost)
    assert cost.batches == 0


def test_room_is_asked_for_what_is_not_yet_drawn(pipeline, starts, tmp_path, monkeypatch):
    """Twice N points of two numbers in float32, of which 1,024 are there already."""
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    missing = 2 * N * 2 * 4 - 1024 * 2 * 4
    for free in (missing - 1000, missing):  # the parts have headers
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if free < missing:
            with pytest.raises(fk.ConfigError, match=r"1500 samples \(-n\) take up to .* more .* choose another place"):
                pipeline.sample_to(tmp_path / "x.npy", N)
        else:
            pipeline.sample_to(tmp_path / "x.npy", N)


def test_what_has_no_room_takes_nothing_away_and_leaves_nothing(pipeline, starts, tmp_path, monkeypatch):
    def refused(**arguments):
        with monkeypatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
            with pytest.raises(fk.ConfigError, match="draw fewer"):
                pipeline.sample_to(tmp_path / "x.npy", N, **arguments)

    refused()
    assert os.listdir(tmp_path) == []
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    refused(seed=1)
    pipeline.sample_to(tmp_path / "x.npy", N)
    assert starts[3:] == [1024]


@pytest.mark.filterwarnings("error")
def test_a_folder_without_parts_is_taken_without_a_word(pipeline, tmp_path):
    """As a process leaves it that is killed before the first batch is drawn."""
    SampleParts(tmp_path / "x.npy", {"seed": 1}).open(512)
    pipeline.sample_to(tmp_path / "x.npy", N)
    assert os.listdir(tmp_path) == ["x.npy"]


def test_a_disk_that_has_not_the_room_of_a_text_file_is_refused(pipeline, tmp_path, monkeypatch):
    pipeline.normalization = fk.Normalization(torch.tensor(0.0), torch.tensor(1e-5))  # numbers of many characters
    file = tmp_path / "x.csv"
    pipeline.sample_to(file, N)
    taken = file.stat().st_size + N * 2 * 4  # and the parts
    file.unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=taken - 1))
    with pytest.raises(fk.ConfigError, match="draw fewer"):
        pipeline.sample_to(file, N)


def test_a_part_that_was_cut_short_is_drawn_again(pipeline, starts, tmp_path):
    with pytest.raises(Crash):
        pipeline.sample_to(tmp_path / "x.npy", N)
    part = sorted((tmp_path / "x.npy.parts").glob("*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:100])
    pipeline.sample_to(tmp_path / "x.npy", N)
    assert starts[3:] == [512, 1024]
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(N))


def test_a_picture_has_the_rows_columns_and_channels_of_its_sample(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, size=(2, 2, 4, 3))  # (n, height, width, channels)
    levels[0, 0, 0] = 0, 255, 128
    x = torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
    x[0, :, 0, 0] = torch.tensor([-1.7, 1.7, 0.0])  # black and white are all there is
    write_samples(tmp_path / "pictures", 2, [(x, None)], fk.DataSpec((3, 2, 4), image_range=(-1.0, 1.0)))
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    assert np.array_equal(np.stack([np.array(Image.open(file)) for file in files]), levels)


def test_images_are_numbered_through_all_batches(tmp_path):
    pipeline = fk.Pipeline.builder().data("digits").network("mlp", width=8, depth=1).sampling("euler", steps=1).build()
    pipeline.sample_to(tmp_path / "whole", 300, y=3, batch_size=1000)
    pipeline.sample_to(tmp_path / "parts", 300, y=3, batch_size=256)
    names = sorted(path.name for path in (tmp_path / "whole/3").iterdir())
    assert names == [f"{i:03d}.png" for i in range(300)]
    for name in names:
        one, two = (np.array(Image.open(tmp_path / f"{run}/3/{name}")).astype(int) for run in ("whole", "parts"))
        assert abs(one - two).max() <= 1  # rounding: see `Pipeline.sample`


@pytest.mark.parametrize(
    ("names", "y", "text", "array"),
    [
        (("1", "2", "3"), [0, 2, 1], "1 3 2", [1, 3, 2]),
        (("1", "2", "3"), [0, -1], "1 -1", [1, -1]),
        (("-1", "1"), [0, 1], "-1 1", [-1, 1]),
        (("-1", "1"), [0, -1], "-1 ", ["-1", ""]),
        (("00", "01"), [1, 0], "01 00", ["01", "00"]),
        (("cat", "2"), [1, -1, 0], "2  cat", ["2", "", "cat"]),
        ((), [1, -1], "1 -1", [1, -1]),
    ],
)
def test_labels_are_written_as_the_data_call_them(tmp_path, names, y, text, array):
    batches = [(torch.zeros(len(y), 1), torch.tensor(y))]
    spec = fk.DataSpec((1,), len(names) or 2, names)
    for suffix in ("csv", "npz", "safetensors"):
        write_samples(tmp_path / f"x.{suffix}", len(y), batches, spec)
    assert [line.partition(",")[2] for line in (tmp_path / "x.csv").read_text().splitlines()[1:]] == text.split(" ")
    assert np.load(tmp_path / "x.npz")["y"].tolist() == array
    whole = all(isinstance(label, int) for label in array)
    assert load_file(tmp_path / "x.safetensors")["y"].tolist() == (array if whole else y)


@pytest.mark.parametrize("name", ["..", "a/b", "/a"])
def test_a_class_whose_name_is_no_folder_is_not_written_as_pictures(tmp_path, name):
    x, y = torch.rand(4, 1, 4, 4), torch.arange(4) % 2
    data = fk.InMemory(x, y, class_names=["cat", name], image_range=(0, 1))
    pipeline = fk.Pipeline.builder().data(data).network("mlp", width=8).sampling("euler", steps=1).build()
    with pytest.raises(fk.ConfigError, match=f"a class is called '{name}', which no folder can be"):
        pipeline.sample_to(tmp_path / "pictures", 4)
    assert os.listdir(tmp_path) == []


def test_two_processes_share_the_batches_and_give_the_samples_of_one(folder, pipeline, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "flowkit"]
    done = subprocess.run(
        [*command, "sample", folder, "-n", str(N), "--out", "x.npy"],
        cwd=tmp_path,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1500 x 2 samples in x.npy") == 1
    pipeline.sample(N, cost=(cost := fk.Cost()))
    assert f"{cost.evaluations} evaluations of the model in {cost.batches} batches" in done.stdout
    assert np.array_equal(np.load(tmp_path / "x.npy"), pipeline.sample(N))


def test_no_samples_make_no_file(pipeline, tmp_path):
    with pytest.raises(fk.ConfigError, match="at least 1 sample; got 0"):
        pipeline.sample_to(tmp_path / "x.npy", 0)


@pytest.mark.parametrize("place", ["x.xlsx", "folder.npy", "plain", "full", "plain/x.npy", "/proc/x.npy"])
def test_a_place_that_samples_cannot_go_to_is_named_without_an_option_of_the_command(pipeline, tmp_path, place):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "plain").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/0.png").touch()
    with pytest.raises(fk.ConfigError) as caught:
        pipeline.sample_to(tmp_path / place, 3)
    assert str(caught.value).startswith(f"{tmp_path / place}: ")
