"""Launches that start other processes than they were asked for, or tell them nothing of one another."""

import os
import subprocess
import sys

import pytest
from command import flowkit

import flowkit as fk

SHORT = ["training.steps=4", "training.batch_size=32", "--no-report"]
SIMPLE = {"ACCELERATE_DYNAMO_MODE": "default", "ACCELERATE_USE_CPU": "True"}
"""What `accelerate launch` leaves where it starts one process, or MPI."""
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def launched(monkeypatch):
    """Makes this process look launched, with the variables of a launcher."""

    def launch(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


def run(module, *arguments, folder, **variables):
    """What a module prints that is run in a folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | variables
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_accelerate_that_starts_one_process_on_a_cpu_instead_of_two_is_warned_of(tmp_path):
    launch = ["--cpu", "--num_processes", "2", "-m", "flowkit", "train", "moons", *SHORT]
    said, warned = run("accelerate.commands.launch", *launch, folder=tmp_path)
    assert "processes" not in said.splitlines()[0]
    assert warned.count("warning: one process trains, though") == 1
    assert "ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m flowkit" in warned


@pytest.mark.slow
def test_torchrun_starts_two_processes_on_cpus_as_the_docs_say(tmp_path):
    launch = ["--standalone", "--nproc_per_node", "2", "-m", "flowkit", "train", "moons", *SHORT]
    said, warned = run("torch.distributed.run", *launch, folder=tmp_path, ACCELERATE_USE_CPU="true")
    assert said.splitlines()[0].endswith("4 steps, 2 processes")
    assert "warning" not in warned


@pytest.mark.parametrize("variables", [SIMPLE, MEETING, MEETING | {"ACCELERATE_USE_CPU": "true"}])
def test_a_launch_of_one_process_and_a_shell_with_an_address_are_let_be(variables, launched, tmp_path):
    launched(variables)
    assert "warning" not in flowkit("train", "moons", *SHORT, cwd=tmp_path)


def test_one_process_where_several_were_asked_for_is_warned_of_in_one_line(launched, tiny, tmp_path):
    launched(SIMPLE | MEETING)
    with pytest.warns(
        fk.FlowkitWarning, match=r"one process trains, though `accelerate launch`.*`ACCELERATE.*torchrun"
    ):
        tiny.build().fit(tmp_path / "run")
