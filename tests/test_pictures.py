"""The pictures of a run show what they say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import flowkit as fk
from flowkit import pictures
from flowkit.pipeline.run import RunFolder


def test_images_are_tiled_row_by_row():
    pixels = np.arange(4, dtype=np.uint8).repeat(4).reshape(4, 2, 2, 1) + 1
    tiled = pictures._tiled(pixels)
    assert tiled.shape == (6, 6)
    assert [tiled[0, 0], tiled[0, 3], tiled[3, 0], tiled[3, 3]] == [1, 2, 3, 4]


@pytest.mark.parametrize(("picture", "call"), [("draw_samples", "sample"), ("draw_trajectory", "trajectory")])
def test_samples_stand_beside_data_of_the_same_class(tiny, monkeypatch, tmp_path, picture, call):
    """Also where one point in a hundred is of class 1: here points lie at the number of their class."""
    y = (torch.arange(1000) % 100 == 7).long()
    pipeline = tiny.data(fk.InMemory(y[:, None].float().expand(-1, 2), y)).build()
    asked, shown = [], []
    drawn, draw = getattr(fk.Pipeline, call), pictures._draw
    monkeypatch.setattr(fk.Pipeline, call, lambda self, n, y: asked.append(y) or drawn(self, n, y))
    monkeypatch.setattr(pictures, "_draw", lambda ax, x, *given: shown.append(x) or draw(ax, x, *given))
    getattr(pictures, picture)(pipeline, tmp_path / "picture.gif")
    (labels,) = asked
    assert labels.tolist() == sorted(labels.tolist())
    assert 0 < labels.sum() < 40  # of 2,000 draws 20 are expected, with a deviation of 4.5
    if picture == "draw_samples":
        assert shown[0][:, 0].tolist() == labels.tolist()


def test_the_trajectory_goes_from_noise_to_samples(tiny, tmp_path):
    path = pictures.draw_trajectory(tiny.build(), tmp_path / "way.gif")
    with Image.open(path) as animation:
        assert animation.n_frames == 5  # four steps


def test_a_trajectory_has_the_times_of_a_grid_that_looked_at_the_model(tiny, tmp_path, monkeypatch):
    pipeline = tiny.sampling("euler", steps=4, grid="curvature").build().fit(tmp_path / "run")
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda ax, title: titles.append(title))
    pictures.draw_trajectory(pipeline, tmp_path / "way.gif")
    assert titles == [f"t = {t:.2f}" for t in pipeline.times()]
    assert titles != [f"t = {i / 4:.2f}" for i in range(5)]


def test_the_loss_is_drawn_from_what_was_logged(tmp_path):
    run = RunFolder(tmp_path)
    lines = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)] + [{"step": 4, "loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Image.open(pictures.draw_loss(run, tmp_path / "loss.png")) as drawn:
        assert len(drawn.convert("L").getcolors()) > 5
