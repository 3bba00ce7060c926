"""What every callback must do."""

import copy
import difflib
import inspect
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..interfaces.callback import Callback, TrainingState
from .check import CheckList, Subject, require
from .parts import callback_state

__all__ = ["CHECKS"]

CHECKS = CheckList()

HOOKS = ("training_started", "progressed", "logged", "checkpoint_saved", "evaluated", "training_ended")


@CHECKS.add(hint="each hook takes the arguments that `flowkit.Callback` gives it")
def follows_a_whole_run(subject: Subject) -> None:
    """Every hook can be called, in the order of training."""
    with _training() as state:
        for hook in HOOKS:
            _call(subject.component, hook, state)


@CHECKS.add(hint="`training_ended` may come before the first `logged`: training may be stopped or fail at any step")
def follows_an_interrupted_run(subject: Subject) -> None:
    """Training may end before anything was logged."""
    with _training() as state:
        state.losses, state.step = [], 0
        _call(subject.component, "training_started", state)
        _call(subject.component, "training_ended", state)


@CHECKS.add(hint="open what you need in `training_started`, close it in `training_ended`")
def follows_a_second_run(subject: Subject) -> None:
    """The same object may watch another training, as when a run is resumed."""
    for _ in range(2):
        with _training() as state:
            for hook in HOOKS:
                _call(subject.component, hook, state)


@CHECKS.add(hint="look, and put back what you change: `model.train(was_training)`; draw samples under torch.no_grad()")
def leaves_training_alone(subject: Subject) -> None:
    """Weights, gradients, train mode and the state are as they were."""
    with _training() as state:
        state.model.train()
        weights = copy.deepcopy(state.model.state_dict())
        facts = (list(state.losses), state.step, state.steps, state.learning_rate)
        for hook in HOOKS:
            _call(subject.component, hook, state)
            changed = [
                name for name, value in state.model.state_dict().items() if not torch.equal(value, weights[name])
            ]
            require(not changed, f"{hook} changes the weights {', '.join(changed)}")
            require(all(p.grad is None for p in state.model.parameters()), f"{hook} leaves gradients behind")
            require(state.model.training, f"{hook} leaves the model in evaluation mode")
            seen = (list(state.losses), state.step, state.steps, state.learning_rate)
            require(seen == facts, f"{hook} changes the state of training from {facts} to {seen}")


@CHECKS.add(hint="a method under another name is never called")
def names_its_hooks_rightly(subject: Subject) -> None:
    """No method has nearly the name of a hook."""
    known = [name for name, _ in inspect.getmembers(Callback, inspect.isfunction) if not name.startswith("_")]
    own = [name for name in dir(type(subject.component)) if not name.startswith("_") and name not in known]
    for name in own:
        if callable(getattr(type(subject.component), name)):
            near = difflib.get_close_matches(name.removeprefix("on_"), known, 1, 0.75)
            require(not near, f"there is no hook {name!r} (did you mean {near[0] if near else ''!r}?)")


@contextmanager
def _training() -> Iterator[TrainingState]:
    with tempfile.TemporaryDirectory() as folder:
        yield callback_state(Path(folder))


def _call(callback: Callback, hook: str, state: TrainingState) -> None:
    arguments = (state.folder / "checkpoints" / "step-2",) if hook == "checkpoint_saved" else ()
    getattr(callback, hook)(state, *arguments)
