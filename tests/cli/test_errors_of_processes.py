"""What fails in several processes is told once, and what fails in one of them is told all the same."""

import os
import subprocess
import sys

import pytest
from command import flowkit

from flowkit import processes

MISTAKE = ["train", "moons", "training.lr=nope"]


@pytest.fixture
def waits(monkeypatch):
    """How many seconds the processes of a launch have waited."""
    found = []
    monkeypatch.setattr(processes.time, "sleep", found.append)
    monkeypatch.setenv("WORLD_SIZE", "4")
    return found


@pytest.mark.parametrize(
    ("rank", "local_rank", "turns", "said"),
    [(0, 0, 0, "error: "), (1, 1, 2, "error in process 1: "), (2, 0, 1, "error in process 2: ")],
)
def test_a_process_says_why_it_fails_after_those_before_it(rank, local_rank, turns, said, waits, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    assert flowkit(*MISTAKE, cwd=tmp_path, code=2).startswith(f"{said}training.lr: no such setting")
    assert sum(waits) == turns * processes._TURN


SCRIPT = """
import sys, time
from flowkit.cli.main import main
{before}
sys.argv = ["flowkit", "train", "moons", *sys.argv[1:]]
main()
"""


def launched_twice(before, setting, folder):
    """What two processes that fail print."""
    (folder / "script.py").write_text(SCRIPT.format(before=before))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [*launch, "script.py", setting], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_a_mistake_that_all_processes_meet_is_told_once(tmp_path):
    assert launched_twice("", "training.lr=nope", tmp_path).count("no such setting") == 1


@pytest.mark.slow
def test_what_one_process_meets_alone_is_told_with_its_rank(tmp_path):
    alone = "import os\nif os.environ['RANK'] == '0': time.sleep(600)"
    said = launched_twice(alone, "training.lr=nope", tmp_path)
    assert said.count("error in process 1: training.lr: no such setting") == 1
