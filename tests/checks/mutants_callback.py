"""A right callback, and one wrong in each way that a check of callbacks looks for."""

import torch

from flowkit import Callback


class Right(Callback):
    """Remembers the losses."""

    def __init__(self):
        self.seen = []

    def logged(self, state):
        self.seen += state.losses


class OfOtherArguments(Right):
    def checkpoint_saved(self, state):
        pass


class Averaging(Right):
    def training_ended(self, state):
        self.mean = sum(state.losses) / len(state.losses)


class Once(Right):
    def training_started(self, state):
        assert not self.seen, "already started"


class Evaluating(Right):
    def logged(self, state):
        state.model.eval()(torch.zeros(2, 2), 0.5)


class Misspelt(Right):
    def on_training_start(self, state):
        pass


RIGHT = [Right()]
MUTANTS = {
    "follows_a_whole_run": OfOtherArguments(),
    "follows_an_interrupted_run": Averaging(),
    "follows_a_second_run": Once(),
    "leaves_training_alone": Evaluating(),
    "names_its_hooks_rightly": Misspelt(),
}
