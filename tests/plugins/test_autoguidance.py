"""Autoguidance: the formula, the worse model from a run folder, chains."""

import pytest
import torch
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT, Cosine
from flowkit_guidance import Autoguidance, Chain, ClassifierFreeGuidance, RunModel
from flowkit_ode.euler import Euler
from oracles import GaussianMixture, Wide, mixture, seeded

import flowkit as fk
from flowkit import Quantity, UnsupportedError

Y = torch.tensor([0, 1, 2, 2])


def states():
    return torch.randn(4, 2, generator=seeded(), dtype=torch.float64)


def blurred(path=None):
    """The mixture with components that are too wide: a worse model of it."""
    worse = GaussianMixture(mixture().means, 1.5 * mixture().stds, mixture().weights)
    worse.path = path or GaussianPath(CondOT())
    return worse


def oracle():
    better = mixture()
    better.path = GaussianPath(CondOT())
    return better


@pytest.mark.parametrize("y", [Y, None], ids=["conditional", "unconditional"])
@pytest.mark.parametrize("quantity", Quantity)
def test_every_field_is_extrapolated_away_from_the_worse_model(y, quantity):
    x = states()
    found = Autoguidance(blurred(), 3.0).guide(mixture()).predict(x, 0.4, y, (quantity,))[0]
    (better,), (worse,) = (model.predict(x, 0.4, y, (quantity,)) for model in (mixture(), blurred()))
    torch.testing.assert_close(found, worse + 3.0 * (better - worse))


def test_scale_1_does_not_ask_the_worse_model():
    model = mixture()
    assert Autoguidance(blurred(), 1.0).guide(model) is model


def test_it_guides_without_a_condition():
    """And undoes what the worse model does wrong: extrapolated samples lie closer together."""
    x0 = torch.randn(500, 2, generator=seeded(), dtype=torch.float64)
    plain = fk.sample(oracle(), x0, integrator=Euler(), steps=30)
    guided = fk.sample(oracle(), x0, integrator=Euler(), steps=30, guidance=Autoguidance(blurred(), 2.0))

    def spread(x):
        return torch.cdist(x, mixture().means).amin(1).mean()

    assert spread(guided) < 0.8 * spread(plain)


@pytest.mark.parametrize("schedule", [Cosine(), Wide()], ids=type)
def test_a_worse_model_of_another_path_is_refused_before_sampling(schedule):
    guidance = Autoguidance(blurred(GaussianPath(schedule)))
    with pytest.raises(UnsupportedError, match="has another path or schedule than the model"):
        fk.sample(oracle(), states(), integrator=Euler(), guidance=guidance)
    assert not Autoguidance(blurred()).problems(oracle())


def test_a_chain_guides_from_the_inside_to_the_outside():
    x, inner, outer = states(), ClassifierFreeGuidance(2.0), Autoguidance(blurred(), 3.0)
    found = Chain([inner, outer]).guide(mixture()).velocity(x, 0.4, Y)
    torch.testing.assert_close(found, outer.guide(inner.guide(mixture())).velocity(x, 0.4, Y))
    assert not torch.allclose(found, Chain([outer, inner]).guide(mixture()).velocity(x, 0.4, Y))


@pytest.mark.parametrize("links", [[ClassifierFreeGuidance(2.0)], []], ids=["inside", "none"])
@pytest.mark.parametrize("more", [[ClassifierFreeGuidance(2.0)], []], ids=["outside", "none"])
def test_a_chain_without_a_condition_leaves_out_what_needs_one(links, more):
    x0, outer = states(), Autoguidance(blurred(), 3.0)
    found, alone = (
        fk.sample(oracle(), x0, integrator=Euler(), steps=5, guidance=guidance)
        for guidance in (Chain([*links, outer, *more]), outer)
    )
    torch.testing.assert_close(found, alone)
    assert not torch.allclose(found, fk.sample(oracle(), x0, integrator=Euler(), steps=5))


def test_a_chain_that_uses_conditions_is_refused_for_data_without(tiny):
    builder = tiny.sampling("euler", guidance=Chain([Autoguidance(blurred()), ClassifierFreeGuidance()]))
    with pytest.raises(fk.ConfigError, match="needs labels to guide by"):
        builder.data("circles").build()


def test_a_chain_needs_what_its_links_need():
    both = Chain([Autoguidance(blurred()), ClassifierFreeGuidance()])
    assert both.uses_condition
    assert not both.needs_condition
    assert both.needs_dropped_conditions
    assert Chain([ClassifierFreeGuidance()]).needs_condition
    alone = Chain([Autoguidance(blurred(GaussianPath(Cosine())))])
    assert not alone.needs_condition
    assert not alone.needs_dropped_conditions
    assert len(alone.problems(oracle())) == 1
    with pytest.raises(ValueError, match="at least one"):
        Chain([])


def trained(folder, steps, **data):
    builder = fk.Pipeline.builder().data("moons", **data).network("mlp", width=16, depth=2)
    return builder.training(steps=steps, batch_size=64).sampling("euler", steps=4).build().fit(folder)


def test_the_worse_model_may_be_a_run_folder(tmp_path):
    pipeline = trained(tmp_path / "good", 6)
    worse = trained(tmp_path / "short", 2)
    settings = {"name": "autoguidance", "scale": 3.0, "weaker": {"name": "run", "folder": str(tmp_path / "short")}}
    found = pipeline.sample(5, seed=1, guidance=settings)
    x0 = pipeline.trajectory(5, seed=1)[0]
    normalized = fk.sample(
        pipeline.model,
        pipeline.normalization.normalize(x0).to(pipeline.model.data_mean.device),
        integrator=Euler(),
        steps=4,
        guidance=Autoguidance(worse.model, 3.0),
    )
    expected = pipeline.normalization.denormalize(normalized).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # the weights of the run are averaged
    assert not torch.equal(found, pipeline.sample(5, seed=1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("circles", "data in other units, with a scale of"),
        ("digits", r"data of shape \(1, 8, 8\) instead of \(2,\)"),
    ],
    ids=["units", "shape"],
)
def test_a_run_on_other_data_is_refused(data, reason, tiny, tmp_path):
    tiny.data(data).build().fit(tmp_path / "other")
    weaker = {"name": "run", "folder": str(tmp_path / "other")}
    builder = fk.Pipeline.builder().data("moons").network("mlp", width=16, depth=2)
    with pytest.raises(fk.ConfigError, match=f"weaker model .* has learned {reason}"):
        builder.sampling("euler", guidance={"name": "autoguidance", "weaker": weaker}).build()
    with pytest.raises(fk.ConfigError, match=f"exact is a field of {reason}"):
        builder.sampling("euler").loss("fm", exact=weaker).build()


def test_units_that_differ_by_less_than_a_hundredth_are_the_same():
    ours, theirs = blurred(), blurred()
    ours.normalization = fk.Normalization(torch.tensor([5.0, 0.0]), torch.tensor([2.0, 1.0]))
    assert Autoguidance(theirs).problems(ours) == []  # not known of one
    for shift, scale, same in ((0.019, 1.009, True), (0.021, 1.0, False), (0.0, 1.011, False)):
        theirs.normalization = fk.Normalization(torch.tensor([5.0 + shift, 0.0]), torch.tensor([2.0, scale]))
        assert (Autoguidance(theirs).problems(ours) == []) is same


def test_a_run_model_knows_its_path_and_needs_a_run(tmp_path):
    trained(tmp_path / "run", 2)
    model = RunModel(str(tmp_path / "run"))
    assert model.quantities == (Quantity.VELOCITY,)
    assert isinstance(model.path, GaussianPath)
    assert model.velocity(torch.zeros(3, 2), 0.5).shape == (3, 2)
    with pytest.raises(fk.FlowkitError, match="nowhere"):
        RunModel(str(tmp_path / "nowhere"))


def test_a_chain_is_configured_by_names(tmp_path):
    given = [{"name": "classifier_free", "interval": [0.2, 0.8]}, "cfg_zero_star"]
    chain = fk.create("guidance", "chain", guidances=given)
    assert [type(link).__name__ for link in chain.guidances] == ["ClassifierFreeGuidance", "CFGZeroStar"]
    assert tuple(chain.guidances[0].interval) == (0.2, 0.8)
