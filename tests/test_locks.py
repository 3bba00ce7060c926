"""One process at a time, whatever becomes of the others."""

import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowkit import ConfigError
from flowkit.locks import exclusive, is_held

HOLD = """
import sys, time
from pathlib import Path
from flowkit.locks import exclusive
with exclusive(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_looking_whether_a_file_is_held_keeps_nobody_from_it(tmp_path):
    file = tmp_path / "run.lock"
    assert not is_held(file)
    with exclusive(file, "training"):
        assert is_held(file)
    assert not is_held(file)
    file.write_text("what a killed process has left")
    with file.open() as opened:  # someone who looks for a moment
        fcntl.flock(opened, fcntl.LOCK_SH)
        timer = threading.Timer(0.02, lambda: fcntl.flock(opened, fcntl.LOCK_UN))
        timer.start()
        with exclusive(file, "training"):
            assert is_held(file)
        timer.join()


def test_the_other_process_is_named_and_a_killed_one_lets_go(tmp_path):
    file = tmp_path / "new folder/run.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=rf"^process {other.pid} on \S+ is training: wait for it"),
            exclusive(file, "training"),
        ):
            pytest.fail("two hold it")
    finally:
        other.kill()
        other.wait()
    assert file.exists()
    with exclusive(file, "training"):
        assert file.read_text().startswith(f"process {os.getpid()} on ")
    assert not file.exists()


def test_of_many_at_once_one_holds_it_at_any_time(tmp_path):
    """Also while the file comes and goes."""
    inside, refused = [], []

    def attempt(_):
        try:
            with exclusive(tmp_path / "x.lock", "busy"):
                inside.append(1)
                assert len(inside) == 1
                inside.pop()
        except ConfigError:
            refused.append(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(2000)))
    assert len(refused) < 2000
    assert os.listdir(tmp_path) == []
