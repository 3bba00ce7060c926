"""Ctrl-C and SIGTERM, held back; a second Ctrl-C is not. Several processes agree on them."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from flowkit.training import interrupt as interrupts
from flowkit.training.interrupt import Agreement, Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_a_second_ctrl_c_breaks_in(number):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
        os.kill(os.getpid(), signal.SIGTERM)  # once more is no reason to break a step
        assert interrupt.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_that_ask_for_an_end_are_noted_unless_they_are_ignored_or_waited_for(number):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
    told = []
    for handler in (signal.SIG_IGN, lambda *_: told.append(1)):
        before = signal.signal(number, handler)
        try:
            with Interrupt() as interrupt:
                os.kill(os.getpid(), number)
                assert interrupt.signal is None
        finally:
            signal.signal(number, before)
    assert told == [1]


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(interrupts.time, "perf_counter", lambda: clock.now)
    return clock


class Two:
    """An accelerator of two processes, of which the other tells the same beside its signal and a longer step."""

    num_processes, device = 2, "cpu"

    def __init__(self, other=0.0, slower=1.0):
        self.other, self.slower = other, slower

    def gather(self, told):
        (_, pace) = told[0].tolist()
        return torch.cat([told, torch.tensor([[self.other, self.slower * pace]])])


def asked(agreement, clock, seconds, steps):
    """After which steps, of so many seconds each, the processes agree."""
    found = []
    for step in range(1, steps + 1):
        clock.now += seconds
        if agreement.signal(step, signal.SIGTERM):
            found.append(step)
    return found


@pytest.mark.parametrize(
    ("seconds", "slower", "most", "steps"),
    [
        (0.5, 1.0, 1000, [1, 7, 13, 19]),  # every 3 seconds
        (0.5, 3.0, 1000, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]),  # of the slowest
        (10.0, 1.0, 1000, list(range(1, 21))),  # no more often than there are steps
        (0.001, 1.0, 6, [1, 6, 12, 18]),  # where losses are logged, if steps are fast
    ],
)
def test_processes_agree_every_few_seconds_of_the_slowest(seconds, slower, most, steps, clock):
    assert asked(Agreement(Two(slower=slower), most, 0), clock, seconds, 20) == steps


def test_the_signal_of_another_process_stops_this_one_too():
    assert Agreement(Two(other=float(signal.SIGINT)), 50, 100).signal(101, 0) == signal.SIGINT


def test_a_process_alone_stops_after_the_step_of_its_signal():
    alone = Agreement(SimpleNamespace(num_processes=1), 50, 0)
    assert [alone.signal(1, 0), alone.signal(2, 0), alone.signal(3, signal.SIGTERM)] == [0, 0, signal.SIGTERM]


SLOW = """
import os, signal, sys, time
import flowkit as fk
from flowkit.cli.main import main
from flowkit.training.trainer import Trainer

step = Trainer._train_step
def slow(trainer, *batch):
    time.sleep(0.1)
    if trainer.step == 3 and os.environ["RANK"] == "1":
        signal.raise_signal(signal.SIGTERM)
    return step(trainer, *batch)
Trainer._train_step = slow
sys.argv = ["flowkit", "train", "moons", "training.steps=400", "training.log_every=400", "--out", "run"]
main()
"""


@pytest.mark.slow
def test_slow_processes_stop_soon_and_one_of_them_says_how_to_go_on(tmp_path):
    (tmp_path / "script.py").write_text(SLOW)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "script.py"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stderr.count("error: stopped at step ") == 1, done.stderr
    (place,) = (tmp_path / "run/checkpoints").iterdir()
    assert json.loads((place / "state.json").read_text())["step"] < 100
    assert (
        "go on with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m flowkit train moons training.steps=400"
    ) in done.stderr
