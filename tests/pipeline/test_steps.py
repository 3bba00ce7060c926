"""A number of steps that makes no difference is not taken in silence."""

import warnings

import pytest
import torch
from command import flowkit

import flowkit as fk

OWN_STEPS = {
    "integrator 'dopri5'": {"integrator": "dopri5"},
    "grid 'explicit'": {"grid": {"name": "explicit", "values": [0, 0.5, 1]}},
}


@pytest.mark.parametrize("part", OWN_STEPS)
def test_steps_that_are_asked_for_and_make_no_difference_are_warned_of(tiny, part):
    pipeline = tiny.build()
    usual = pipeline.sample(4, **OWN_STEPS[part])
    with pytest.warns(fk.FlowkitWarning, match=rf"^sampling\.steps: makes no difference: {part} has steps of its own"):
        assert torch.equal(pipeline.sample(4, steps=7, **OWN_STEPS[part]), usual)
    with pytest.warns(fk.FlowkitWarning, match="makes no difference"):
        pipeline.log_prob(torch.zeros(1, 2), steps=7, **OWN_STEPS[part])


def test_others_are_not(tiny):
    pipeline = tiny.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.sample(4, steps=7)
        pipeline.sample(4, integrator="dopri5")
        pipeline.trajectory(4, integrator="dopri5", steps=7)  # the times that are looked at


def test_the_command_line_warns_too(tiny, tmp_path):
    tiny.build().fit(tmp_path / "run")
    warning = "warning: sampling.steps: makes no difference: integrator 'dopri5' has steps of its own"
    adaptive = ["run", "--integrator", "dopri5", "-n", 4]
    assert warning not in flowkit("sample", *adaptive, cwd=tmp_path)
    assert warning in flowkit("sample", *adaptive, "--steps", 4, cwd=tmp_path)  # as many as in the run
    refused = ["sampling.integrator=dopri5", "sampling.steps=9", "path=linear", "sampling.grid=karras"]
    assert warning in flowkit("train", "moons", *refused, cwd=tmp_path, code=2)
