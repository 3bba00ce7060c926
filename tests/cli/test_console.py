"""A terminal, a pipe or a file that can no longer be written to takes no training with it."""

import os
import subprocess
import sys

import pytest
from command import flowkit

QUICK = ["training.steps=100", "training.batch_size=32", "training.log_every=5", "training.warmup_steps=10"]
SMALL = ["moons", "network.width=16", *QUICK, "--no-report", "--out", "run"]
TRAIN = [sys.executable, "-m", "flowkit", "train", *SMALL]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_training_goes_on_where_its_output_has_no_room(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(TRAIN, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run/checkpoints/step-00000100").is_dir()


def test_training_goes_on_when_the_reader_of_its_output_has_gone(tmp_path):
    process = subprocess.Popen(TRAIN, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("moons: ")
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, "")
    assert (tmp_path / "run/checkpoints/step-00000100").is_dir()


def test_a_run_that_is_hardly_more_than_its_warm_up_is_noted(tmp_path):
    small = ["network.width=16", "training.steps=10", "--no-report", "--out", "run", "--overwrite"]
    noted = "note: the learning rate rises for 100 steps, of 10 in all (training.warmup_steps)"
    assert noted in flowkit("train", "moons", *small, cwd=tmp_path)
    assert "note:" not in flowkit("train", "moons", *small, "training.warmup_steps=5", cwd=tmp_path)
