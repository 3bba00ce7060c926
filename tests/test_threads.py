"""How many CPU threads a network is given."""

import pytest
import torch
from torch import nn

import flowkit as fk
from flowkit.threads import WORTH_SHARING, suitable_threads


@pytest.fixture
def two_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of(weights, event_shape):
    network = nn.Linear(weights, 1, bias=False)
    model = fk.Model(network, fk.create("head", "velocity"), fk.create("path", "gaussian"), torch.zeros(event_shape))
    with suitable_threads(model):
        return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_a_small_network_has_one_thread_and_one_of_many_multiplications_has_all():
    assert threads_of(WORTH_SHARING - 1, (2,)) == 1
    assert threads_of(WORTH_SHARING, (2,)) == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_weights_count_once_for_every_position_of_an_image():
    assert threads_of(WORTH_SHARING // 64, (3, 8, 8)) == 2
    assert threads_of(WORTH_SHARING // 64 - 1, (3, 8, 8)) == 1


@pytest.mark.usefixtures("two_threads")
def test_the_environment_has_the_last_word(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_of(1, (2,)) == 2
