"""The pictures of a run show what they say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import flowkit as fk
from flowkit import pictures
from flowkit.pipeline.run import RunFolder


@pytest.fixture(scope="module")
def images():
    """Twenty images of two classes, 0 dark and 1 bright, in random order, and an untrained pipeline of them."""
    y = torch.randperm(20, generator=torch.Generator().manual_seed(0)) % 2
    data = fk.InMemory(y[:, None, None, None].float().expand(-1, 1, 4, 4), y)
    builder = fk.Pipeline.builder().data(data).network("unet", width=8, multipliers=[1], attention=False)
    return builder.sampling("euler", steps=3).build()


def test_images_are_tiled_row_by_row():
    pixels = np.arange(4, dtype=np.uint8).repeat(4).reshape(4, 2, 2, 1) + 1
    tiled = pictures._tiled(pixels)
    assert tiled.shape == (6, 6)
    assert [tiled[0, 0], tiled[0, 3], tiled[3, 0], tiled[3, 3]] == [1, 2, 3, 4]


def test_data_stand_beside_samples_of_the_same_class(images):
    shown = pictures._data_like(images, 6)
    assert shown[:, 0, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]


def test_the_trajectory_goes_from_noise_to_samples(tiny, tmp_path):
    path = pictures.draw_trajectory(tiny.build(), tmp_path / "way.gif")
    with Image.open(path) as animation:
        assert animation.n_frames == 5  # four steps


def test_the_loss_is_drawn_from_what_was_logged(tmp_path):
    run = RunFolder(tmp_path)
    lines = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)] + [{"step": 4, "loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Image.open(pictures.draw_loss(run, tmp_path / "loss.png")) as drawn:
        assert len(drawn.convert("L").getcolors()) > 5
