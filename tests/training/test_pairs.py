"""Pairs prepared ahead: the same pairs, the same run, and a thread that never outlives the training."""

import os
import signal
import threading

import pytest
import torch
from accelerate.state import AcceleratorState
from oracles import seeded

import flowkit as fk
from flowkit.training.batches import Batches
from flowkit.training.checkpoint import latest_checkpoint
from flowkit.training.pairs import Pairs


def pairs(coupling="ot", data=None, **settings):
    """A stream of pairs; with `sinkhorn` the coupling too draws from its generator."""
    data = data or fk.create("data", "moons", labels=True)
    coupling = fk.create("coupling", coupling) if isinstance(coupling, str) else coupling
    return Pairs(Batches(data, 32, 0), fk.create("source", "gaussian"), coupling, seeded(1), **settings)


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def weights(pipeline):
    return torch.cat([p.detach().flatten() for p in pipeline.model.parameters()])


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("flowkit-pairs")]


class Recording(fk.Coupling):
    """Prepares ahead, notes the threads it is called from, and fails at the call it is told to."""

    ahead = True

    def __init__(self, failing=None):
        self.failing, self.threads = failing, []

    def pair(self, x0, z, y=None, generator=None):
        self.threads.append(threading.current_thread())
        if len(self.threads) == self.failing:
            raise ValueError("no pairs today")
        return x0, z, y


@pytest.mark.parametrize("coupling", ["ot", "sinkhorn"])
def test_pairs_prepared_ahead_are_those_of_the_plain_stream_and_their_state_resumes_anywhere(coupling):
    plain = pairs(coupling, condition_dropout=0.3)
    wanted = [next(plain) for _ in range(12)]
    with pairs(coupling, condition_dropout=0.3) as ahead:
        for taken in range(6):
            state = ahead.state()
            assert same(next(ahead), wanted[taken])
            again = pairs(coupling, condition_dropout=0.3)
            again.restore(state)
            assert same(next(again), wanted[taken])
    assert bool((wanted[0][2] == -1).any())


def test_only_a_coupling_that_asks_for_it_is_called_in_a_thread():
    coupling = Recording()
    with pairs(coupling) as ahead:
        next(ahead)
    assert threading.main_thread() not in coupling.threads
    plain = Recording()
    plain.ahead = False
    with pairs(plain) as stream:
        next(stream)
    assert plain.threads == [threading.main_thread()]


def test_an_error_comes_up_with_its_message_where_its_pairs_are_taken():
    with pairs(Recording(failing=3)) as ahead:
        next(ahead)
        next(ahead)
        with pytest.raises(ValueError, match="no pairs today"):
            next(ahead)
    assert not threads()


@pytest.mark.parametrize("coupling", ["ot", "sinkhorn"])
def test_a_run_is_the_same_whether_its_pairs_are_prepared_ahead_or_not(coupling, tiny, tmp_path, monkeypatch):
    ahead = tiny.coupling(coupling).build().fit(tmp_path / "ahead")
    monkeypatch.setattr(Pairs, "__enter__", lambda self: self)
    in_turn = tiny.coupling(coupling).build().fit(tmp_path / "in_turn")
    assert torch.equal(weights(ahead), weights(in_turn))


@pytest.mark.parametrize("data", ["moons", "digits"])
def test_an_interrupted_run_with_optimal_pairs_resumes_to_the_bit(data, tiny, tmp_path):
    class Stop(fk.Callback):
        def logged(self, state):
            if state.step == 10:
                os.kill(os.getpid(), signal.SIGTERM)

    builder = tiny.data(data).coupling("ot").training(batch_size=128)
    whole = builder.build().fit(tmp_path / "whole")
    with pytest.raises(fk.TrainingInterrupted):
        builder.build().fit(tmp_path / "parts", callbacks=[Stop()])
    assert not threads()
    assert latest_checkpoint(tmp_path / "parts").step == 10
    resumed = builder.build().fit(tmp_path / "parts", resume=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert not threads()


@pytest.fixture
def on_cpu(monkeypatch):
    """Training stays on the CPU, where alone pairs are prepared ahead, whatever was trained before in this process."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("on_cpu")
def test_the_thread_ends_with_a_training_that_fails(tiny, tmp_path):
    class Failing(fk.Callback):
        def logged(self, state):
            assert threads()
            raise RuntimeError("no room on the disk")

    with pytest.raises(RuntimeError, match="no room on the disk"):
        tiny.coupling("ot").build().fit(tmp_path / "run", callbacks=[Failing()])
    assert not threads()
    with pytest.raises(ValueError, match="no pairs today"):
        tiny.coupling(Recording(failing=8)).build().fit(tmp_path / "other")
    assert not threads()
