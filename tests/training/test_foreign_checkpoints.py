"""Checkpoints that are not this run's, or stand in its way: passed over in words, and training goes on."""

import json
import os
import shutil

import pytest
import torch

import flowkit as fk
from flowkit.training.checkpoint import Checkpoint, save_checkpoint


def pipeline(steps=10, schedule="condot", data="moons", **training):
    builder = fk.Pipeline.builder().data(data).path("gaussian", schedule=schedule).network("mlp", width=8, depth=1)
    builder = builder.evaluation(metrics=[])
    return builder.training(steps=steps, batch_size=8, checkpoint_every=5, log_every=5, **training).build()


@pytest.fixture
def folder(tmp_path):
    """A run of ten steps."""
    pipeline().fit(tmp_path / "run")
    return tmp_path / "run"


class Images(fk.InMemory):
    """Images whose units are those of their range, whatever they show."""

    @property
    def normalization(self):
        return fk.Normalization.identity()


def weights(folder, step):
    return Checkpoint(folder / f"checkpoints/step-{step:08d}").tensors("ema")


def test_a_checkpoint_of_another_run_is_passed_over(folder, tmp_path):
    other = tmp_path / "other"
    pipeline(15, "cosine").fit(other)
    shutil.copytree(other / "checkpoints/step-00000015", folder / "checkpoints/step-00000015")
    with pytest.warns(fk.FlowkitWarning, match=r"step-00000015 is a checkpoint of another run; step-00000010 is used"):
        found = fk.Pipeline.load(folder)
    expected = weights(folder, 10)
    assert all(torch.equal(value, expected[name]) for name, value in found.model.state_dict().items())
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    shutil.rmtree(alone / "checkpoints/step-00000015")
    pipeline(15).fit(alone, resume=True)
    with pytest.warns(fk.FlowkitWarning, match="of another run"):
        pipeline(15).fit(folder, resume=True)
    assert all(torch.equal(value, weights(alone, 15)[name]) for name, value in weights(folder, 15).items())


def test_a_checkpoint_that_does_not_say_its_run_is_not_of_one_that_has_a_name(folder):
    state = Checkpoint(folder / "checkpoints/step-00000010").state() | {"step": 20}
    del state["run"]
    save_checkpoint(folder, 20, {"ema": weights(folder, 10)}, state, keep=3)
    with pytest.warns(fk.FlowkitWarning, match="step-00000020 is a checkpoint of another run"):
        fk.Pipeline.load(folder)


def test_a_checkpoint_under_another_name_is_passed_over(folder):
    shutil.copytree(folder / "checkpoints/step-00000005", folder / "checkpoints/step-00000999")
    with pytest.warns(fk.FlowkitWarning, match="step-00000999 is the checkpoint of step 5 under another name"):
        pipeline(15).fit(folder, resume=True)
    assert weights(folder, 15)


def test_a_run_goes_on_where_it_is_copied_to(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    pipeline(15).fit(tmp_path / "copy", resume=True)
    assert fk.Pipeline.load(tmp_path / "copy")


def test_data_of_another_number_are_refused(tmp_path):
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    pipeline(data=fk.InMemory(torch.cat([x, x]))).fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=r"data: the run was started with other data: .*points was 40 and is 20"):
        pipeline(15, data=fk.InMemory(x)).fit(tmp_path / "run", resume=True)


def test_other_data_of_the_same_number_are_refused(tmp_path):
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pipeline(data=Images(images)).fit(tmp_path / "run")
    with pytest.raises(
        fk.ConfigError, match="data: the run was started with other data: some of the points are others"
    ):
        pipeline(15, data=Images(images.flip(0))).fit(tmp_path / "run", resume=True)
    pipeline(15, data=Images(images + 1e-3)).fit(tmp_path / "run", resume=True)  # what another decoder may make of them


@pytest.mark.parametrize("change", ["labels", "x0"])
def test_other_labels_or_x0_of_the_same_points_are_refused(change, tmp_path):
    z = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    y, x0 = torch.arange(20) % 2, z.flip(0)
    before, after = {
        "labels": ({"y": y}, {"y": 1 - y}),
        "x0": ({"x0": x0}, {"x0": x0.flip(0)}),
    }[change]

    def of(data, steps=10):
        builder = fk.Pipeline.builder().data(fk.InMemory(z, **data)).path("linear").network("mlp", width=8, depth=1)
        builder = builder.coupling("given").source("data") if change == "x0" else builder
        return builder.evaluation(metrics=[]).training(steps=steps, batch_size=8, checkpoint_every=5).build()

    of(before).fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=f"the run was started with other data: some .*{change} are others"):
        of(after, 15).fit(tmp_path / "run", resume=True)
    of(before, 15).fit(tmp_path / "run", resume=True)


def test_points_held_out_may_lack_classes_which_keep_the_numbers_of_the_run(tmp_path):
    z, y = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    pipeline(data=fk.InMemory(z, y, class_names=["a", "b", "c"])).fit(tmp_path / "run")
    names = ["c", "a"]
    loaded = fk.Pipeline.load(tmp_path / "run", data=fk.InMemory(z[:20], y[:20] % 2, class_names=names))
    batch = loaded.data.take(torch.arange(20))
    assert [loaded.spec.class_names[label] for label in batch.y] == [names[label] for label in y[:20] % 2]
    assert torch.equal(batch.z, z[:20])
    assert loaded.data.spec == loaded.spec


def test_other_classes_are_refused_in_training_and_where_a_run_is_measured(tmp_path):
    z, y = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    pipeline(data=fk.InMemory(z, y, class_names=["a", "b"])).fit(tmp_path / "run")
    renamed = fk.InMemory(z, y, class_names=["b", "c"])
    with pytest.raises(fk.ConfigError, match="other data: class_names was"):
        pipeline(15, data=renamed).fit(tmp_path / "run", resume=True)
    with pytest.raises(fk.ConfigError, match="data: their classes are b, c, and those of the run a, b"):
        fk.Pipeline.load(tmp_path / "run", data=renamed).evaluate()
    with pytest.raises(fk.ConfigError, match=r"data: their points have shape \(3,\), and those of the run \(2,\)"):
        fk.Pipeline.load(tmp_path / "run", data=fk.InMemory(torch.randn(9, 3))).evaluate()


def test_classes_may_be_given_names_when_a_run_goes_on(tmp_path):
    z, y = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    pipeline(data=fk.InMemory(z, y)).fit(tmp_path / "run")
    pipeline(15, data=fk.InMemory(z, y, class_names=["cat", "dog"])).fit(tmp_path / "run", resume=True)
    assert fk.Pipeline.load(tmp_path / "run").spec.class_names == ("cat", "dog")


def test_data_that_are_augmented_at_random_go_on(tmp_path):
    class Augmented(Images):
        def take(self, index):
            batch = super().take(index)
            return fk.Batch(batch.z * torch.rand(len(batch.z), 1, 1, 1), batch.y)

    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pipeline(data=Augmented(images)).fit(tmp_path / "run")
    pipeline(15, data=Augmented(images)).fit(tmp_path / "run", resume=True)


@pytest.mark.parametrize("factor", [1e-6, 1, 1e6])
def test_units_that_differ_by_rounding_are_those_of_the_same_data(factor, tmp_path):
    """Another machine adds up in another order, and a mean near 0 is nothing but rounding."""
    x = factor * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    x -= x.mean(0)
    pipeline(data=fk.InMemory(x)).fit(tmp_path / "run")
    pipeline(15, data=fk.InMemory(x + 1e-4 * factor)).fit(tmp_path / "run", resume=True)
    with pytest.raises(fk.ConfigError, match="data: the run was started with other data: shift was"):
        pipeline(20, data=fk.InMemory(x + factor)).fit(tmp_path / "run", resume=True)


def test_a_file_in_the_place_of_a_checkpoint_is_replaced(folder):
    (folder / "checkpoints/step-00000015").write_text("not a folder")
    with pytest.warns(fk.FlowkitWarning, match="step-00000010 is used instead"):
        pipeline(15).fit(folder, resume=True)
    assert weights(folder, 15)


def test_what_cannot_be_removed_is_moved_aside(folder, monkeypatch):
    (folder / "checkpoints/step-00000015").mkdir()
    (folder / "checkpoints/step-00000015/x").touch()
    (folder / "checkpoints/step-00000015.damaged-1").mkdir()
    remove = shutil.rmtree

    def stubborn(path, *arguments, **settings):
        if path.name != "step-00000015":
            remove(path, *arguments, **settings)

    monkeypatch.setattr(shutil, "rmtree", stubborn)
    with pytest.warns(fk.FlowkitWarning, match="step-00000010 is used instead"):
        pipeline(15).fit(folder, resume=True)
    assert (folder / "checkpoints/step-00000015.damaged-2/x").exists()
    assert weights(folder, 15)


def test_checkpoints_that_were_passed_over_do_not_push_out_good_ones(folder):
    for step in (50, 55, 60):
        (folder / f"checkpoints/step-{step:08d}").mkdir()
    with pytest.warns(fk.FlowkitWarning, match="step-00000010 is used instead"):
        pipeline(20, keep_checkpoints=2).fit(folder, resume=True)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (15, 20, 50, 55, 60)]


def test_whoever_may_read_the_folder_may_read_its_tensors(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".safetensors" for file in files)
    assert len({file.stat().st_mode for file in files}) == 1


def test_a_checkpoint_that_is_taken_away_while_it_is_loaded_is_left_for_the_next(folder, monkeypatch):
    load, newest = fk.Pipeline.load_weights, folder / "checkpoints/step-00000010"

    def slow(self, checkpoint, averaged):
        if checkpoint.folder == newest:
            shutil.rmtree(newest)
        load(self, checkpoint)

    monkeypatch.setattr(fk.Pipeline, "load_weights", slow)
    found = fk.Pipeline.load(folder)
    assert os.listdir(folder / "checkpoints") == ["step-00000005"]
    expected = weights(folder, 5)
    assert all(torch.equal(value, expected[name]) for name, value in found.model.state_dict().items())


def test_a_checkpoint_that_is_taken_away_while_it_is_verified_is_left_for_a_newer_one(folder, monkeypatch):
    verify, newest = Checkpoint.verify, folder / "checkpoints/step-00000010"
    shutil.rmtree(folder / "checkpoints/step-00000005")

    def slow(self):
        if self.folder == newest:
            newest.rename(folder / "aside")
            state = json.loads((folder / "aside/state.json").read_text()) | {"step": 15}
            save_checkpoint(folder, 15, {"ema": Checkpoint(folder / "aside").tensors("ema")}, state, keep=1)
        verify(self)

    monkeypatch.setattr(Checkpoint, "verify", slow)
    assert fk.Pipeline.load(folder)
    assert os.listdir(folder / "checkpoints") == ["step-00000015"]
