"""Messages call components what the configuration calls them."""

import pytest

import flowkit as fk


def problems(builder):
    with pytest.raises(fk.ConfigError) as refused:
        builder.build()
    return [str(problem) for problem in refused.value.problems]


def test_parts_that_do_not_fit_are_called_by_the_names_that_chose_them(tiny):
    assert problems(tiny.path("linear").sampling(grid="karras")) == [
        "sampling: grid 'karras' needs a path with a schedule; path 'linear' has none: use the grid 'uniform'"
    ]


def test_so_are_parts_of_parts(tiny):
    first, _ = problems(tiny.path("linear").loss("cfm", weighting="likelihood"))
    assert first.startswith(
        "loss: weighting 'likelihood' needs a path that turns a score into a velocity; path 'linear'"
    )


def test_an_object_is_called_by_its_class(tiny):
    grid = fk.create("grid", "karras")
    (problem,) = problems(tiny.path("linear").sampling(grid=grid))
    assert problem.startswith("sampling: KarrasGrid needs a path with a schedule; path 'linear' has none")


def test_so_are_the_parts_of_one_call(tiny):
    needs = "integrator 'euler_maruyama' needs the score, and path 'gaussian' has it only if"
    with pytest.raises(fk.ConfigError, match=f"^sampling: {needs} .* which coupling 'ot' does not"):
        tiny.coupling("ot").build().sample(4, integrator="euler_maruyama")


def test_so_is_what_fails_while_samples_are_drawn(tiny):
    with pytest.raises(fk.FlowkitError, match=r"^integrator 'dopri5' has taken max_steps = 3 steps"):
        tiny.build().sample(4, integrator={"name": "dopri5", "max_steps": 3})
