"""Launches that start other processes than they were asked for, or tell them nothing of one another."""

import os
import re
import socket
import subprocess
import sys
import threading

import accelerate
import pytest
import torch
import torch.distributed as dist
from command import flowkit

import flowkit as fk
from flowkit import processes
from flowkit.processes import Processes

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


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_launch_that_compiles_leaves_the_network_as_it_was_and_its_runs_are_like_others(
    launched, tiny, tmp_path, precision
):
    launched({"ACCELERATE_DYNAMO_BACKEND": "EAGER"})
    pipeline = tiny.training(steps=2, mixed_precision=precision).build()
    network, names = pipeline.model.network, list(pipeline.model.state_dict())
    trained = []

    class Looking(fk.Callback):
        def training_started(self, state):
            trained.append(type(state.model.network).__name__)

    pipeline.fit(tmp_path / "run", callbacks=[Looking()])
    assert trained == ["OptimizedModule"]
    assert pipeline.model.network is network
    assert list(pipeline.model.state_dict()) == names
    assert torch.equal(fk.Pipeline.load(tmp_path / "run").sample(3), pipeline.sample(3))
    pipeline.fit(tmp_path / "again")


def test_one_process_where_several_were_asked_for_is_warned_of_in_one_line(launched, tiny, tmp_path):
    launched(SIMPLE | MEETING)
    with pytest.warns(
        fk.FlowkitWarning, match=r"one process trains, though `accelerate launch`.*`ACCELERATE.*torchrun"
    ):
        tiny.build().fit(tmp_path / "run")


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, "flowkit train 'my run.yaml'"),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "torchrun --nproc_per_node 2 -m flowkit train 'my run.yaml'"),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, "(launched as before) flowkit train 'my run.yaml'"),
    ],
)
def test_a_command_is_given_with_the_launch_of_one_machine(variables, command, launched):
    launched(variables)
    assert processes.launched().again(["train", "my run.yaml"]) == command
    launched({"ACCELERATE_USE_CPU": "true"})
    prefix = "ACCELERATE_USE_CPU=true " if command.startswith("torchrun") else ""
    assert processes.launched().again(["train", "my run.yaml"]) == prefix + command


# MPI, played by hand: Accelerate finds its processes on CPUs by themselves.


def by_mpi(rank, port, folder):
    """Begin the process of a rank of two, as MPI does."""
    variables = MEETING | {"MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    environment = os.environ | variables | {"PMI_SIZE": "2", "PMI_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "flowkit", "train", "moons", "--out", "run", *SHORT]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


@pytest.mark.slow
def test_two_processes_that_mpi_starts_train_together_and_the_first_speaks(tmp_path):
    port = free_port()
    started = [by_mpi(rank, port, tmp_path) for rank in (0, 1)]
    (first, warned), (second, _) = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], warned
    assert first.splitlines()[0].endswith("4 steps, 2 processes")
    assert second == ""


@pytest.mark.parametrize("name", ["PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD"])
def test_a_launch_by_mpi_is_known_where_accelerate_knows_it(name, launched):
    launched({f"{name}_SIZE": "4", f"{name}_RANK": "3"})
    assert processes.launched() == Processes(0, 1)
    launched({"ACCELERATE_USE_CPU": "true"})
    assert processes.launched() == Processes(3, 4)
    launched({"WORLD_SIZE": "2", "RANK": "1"})
    assert processes.launched() == Processes(1, 2)


def test_processes_that_are_missing_are_told_of_in_one_line(launched, tiny, tmp_path, monkeypatch):
    launched(MEETING | {"PMI_SIZE": "2", "PMI_RANK": "0", "ACCELERATE_USE_CPU": "true"})
    monkeypatch.setattr(processes, "_PATIENCE", 0.0)
    monkeypatch.setattr(accelerate, "PartialState", never_complete)
    message = r"the 2 processes of the launch did not meet at 127\.0\.0\.1:29500: Timed out .* 1/2 clients joined\."
    with (
        pytest.warns(fk.FlowkitWarning, match=r"still waiting for the 2 processes .* 127\.0\.0\.1:29500"),
        pytest.raises(fk.FlowkitError, match=f"{message}$"),
    ):
        tiny.build().fit(tmp_path / "run")


def never_complete(cpu):
    """What Accelerate does after its time limit."""
    threading.Event().wait(0.3)
    raise dist.DistStoreError("Timed out after 1801 seconds waiting for clients. 1/2 clients joined.\nraised from here")


def test_processes_without_a_place_to_meet_are_refused(launched, tiny, tmp_path):
    launched({"PMI_SIZE": "2", "PMI_RANK": "0", "ACCELERATE_USE_CPU": "true"})
    with pytest.raises(fk.ConfigError, match=r"^2 processes were launched without MASTER_ADDR: set it for all of them"):
        tiny.build().fit(tmp_path / "run")


def test_advice_that_is_followed_already_is_not_given(launched):
    launched({"WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"})
    with pytest.raises(fk.ConfigError, match="2 processes were launched, and Accelerate sees 1: launch with torchrun"):
        processes.check_launch(1)


TASK = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
"""What a task of `srun -n 2` has."""


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (TASK, "srun started 2 processes that know nothing of one another: .* torchrun .* unset SLURM_STEP_NUM_TASKS"),
        (TASK | SIMPLE, "srun started 2 processes"),
        (
            {"OMPI_COMM_WORLD_SIZE": "2"},
            "MPI started 2 processes .* on CPUs set ACCELERATE_USE_CPU=true; .* unset OMPI_COMM_WORLD_SIZE",
        ),
    ],
)
def test_processes_that_take_themselves_for_the_only_one_are_refused(variables, message, launched, tmp_path):
    launched(variables)
    said = flowkit("train", "moons", "--out", "run", *SHORT, cwd=tmp_path, code=2)
    assert re.search(message, said.splitlines()[-1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"},  # the script of sbatch
        {"SLURM_NTASKS": "2"},  # a shell of salloc
        TASK | {"SLURM_STEP_NUM_TASKS": "1"},
        TASK | {"SLURM_PTY_PORT": "40000"},  # a shell of srun --pty
        TASK | {"WORLD_SIZE": "1", "RANK": "0"},
    ],
)
def test_a_process_that_is_alone_in_an_allocation_trains(variables, launched, tiny, tmp_path):
    launched(variables)
    tiny.build().fit(tmp_path / "run")


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]
