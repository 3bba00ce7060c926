"""Pipelines: parts that fit, samples that repeat, configurations that round-trip."""

import copy
import dataclasses
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from command import flowkit
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import CondOT
from safetensors.torch import load_file
from torch import nn

import flowkit as fk
from flowkit.config.files import write_yaml
from flowkit.plugins import PluginManager


@pytest.fixture
def trained(tiny, tmp_path):
    return tiny.build().fit(tmp_path / "run")


def test_builder_yaml_and_load_give_the_same_samples_to_the_bit(tiny, tmp_path):
    first = tiny.build().fit(tmp_path / "one")
    (tmp_path / "config.yaml").write_text(write_yaml(first.config))
    second = fk.Pipeline.builder().from_config(tmp_path / "config.yaml").build().fit(tmp_path / "two")
    x = first.sample(300, seed=7)
    assert torch.equal(x, second.sample(300, seed=7))
    assert torch.equal(x, fk.Pipeline.load(tmp_path / "two").sample(300, seed=7))
    assert fk.Pipeline.load(tmp_path / "two").config == first.config


@pytest.mark.parametrize("sampling", [{}, {"integrator": "euler_maruyama"}])
def test_a_sample_depends_on_the_seed_and_its_index_alone(trained, sampling):
    whole = trained.sample(1000, seed=1, **sampling)
    # The order in which a matrix product sums may change with the batch, so to rounding, not to the bit.
    assert torch.allclose(trained.sample(1000, seed=1, batch_size=256, **sampling), whole, atol=1e-5)
    assert torch.allclose(trained.sample(300, seed=1, **sampling), whole[:300], atol=1e-5)
    assert not torch.allclose(trained.sample(300, seed=2, **sampling), whole[:300], atol=0.1)


@pytest.mark.parametrize(
    "sampling", [{}, {"integrator": "euler_maruyama", "diffusion": "constant"}], ids=["ode", "sde"]
)
def test_the_noise_that_a_path_starts_with_belongs_to_samples_too(tiny, sampling):
    pipeline = (
        tiny.path("linear", gamma="constant").head("joint").loss("joint", score_weighting="noise_variance").build()
    )
    found = pipeline.sample(600, seed=1, **sampling)
    assert torch.allclose(pipeline.sample(600, seed=1, batch_size=100, **sampling), found, atol=1e-5)
    states = pipeline.trajectory(600, seed=1, **sampling)
    assert torch.allclose(states[-1], found, atol=1e-5)
    # x0 and noise of deviation 1, with four standard errors of a deviation.
    assert float(pipeline.normalization.normalize(states[0]).std()) == pytest.approx(2**0.5, rel=4 / 2400**0.5)


def test_no_samples_are_an_empty_tensor(trained):
    assert trained.sample(0).shape == (0, 2)


def test_a_trajectory_goes_from_noise_to_the_samples(trained):
    states = trained.trajectory(100, seed=3)
    assert states.shape == (5, 100, 2)
    assert torch.equal(states[-1], trained.sample(100, seed=3))


def test_samples_come_in_the_units_of_the_data(tiny, tmp_path):
    z = torch.randn(2000, 2) * torch.tensor([100.0, 0.01]) + torch.tensor([5000.0, -3.0])
    import numpy as np

    np.save(tmp_path / "points.npy", z.numpy())
    pipeline = tiny.data("array", path=str(tmp_path / "points.npy")).training(steps=300).build().fit(tmp_path / "run")
    x = fk.Pipeline.load(tmp_path / "run").sample(1000)
    assert torch.allclose(x.mean(0), z.mean(0), rtol=0.02, atol=0.1)
    assert 0.5 < (x.std(0) / z.std(0)).min() < (x.std(0) / z.std(0)).max() < 2
    assert pipeline.normalization.log_det((2,)) == pytest.approx(-math.log(z.std(0, correction=0).prod()), abs=1e-3)


def test_the_likelihood_integrates_to_one(trained):
    low, high, n = -6.0, 7.0, 120
    line = torch.linspace(low, high, n)
    grid = torch.cartesian_prod(line, line)
    density = trained.log_prob(grid, integrator="heun", steps=30).double().exp()
    # A smooth density on a grid much finer than it: the sum is the integral, up to the ODE's steps.
    assert float(density.sum() * ((high - low) / (n - 1)) ** 2) == pytest.approx(1, abs=0.02)


def test_the_likelihood_refuses_an_sde(trained):
    with pytest.raises(fk.UnsupportedError, match="choose an ODE integrator"):
        trained.log_prob(torch.zeros(1, 2), integrator="euler_maruyama")


@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_the_likelihood_is_that_of_guided_samples(tiny, tmp_path, schedule):
    pipeline = tiny.data("moons", labels=True).training(condition_dropout=0.2).build().fit(tmp_path / "run")
    x, y = pipeline.sample(5, 0), torch.zeros(5, dtype=torch.long)
    guidance = {"name": "classifier_free", "scale": 3.0}
    sampler = fk.Sampler(
        fk.create("integrator", "heun"), [], guidance=fk.create("guidance", "classifier_free", scale=3.0)
    )
    if schedule:
        sampler = dataclasses.replace(sampler, schedule=fk.create("schedule", schedule))
    model, path = sampler.rescheduled(sampler.guidance.guide(pipeline.model), pipeline.path)
    expected = fk.log_prob(
        model,
        pipeline.normalization.normalize(x),
        y,
        source=pipeline.source,
        integrator=sampler.integrator,
        times=torch.linspace(0, 1, 21),
        path=path,
    ) + pipeline.normalization.log_det((2,))
    settings = {"integrator": "heun", "steps": 20, "schedule": schedule}
    assert torch.allclose(pipeline.log_prob(x, 0, guidance=guidance, **settings), expected, atol=1e-4)
    assert not torch.allclose(pipeline.log_prob(x, 0, **settings), expected, atol=1e-1)
    assert pipeline.log_prob(x, 0, batch_size=2, guidance=guidance, **settings).shape == (5,)


def test_evaluation_measures_samples_and_the_floor(trained):
    (result,) = trained.evaluate()
    assert result.metric == "2-Wasserstein"
    assert result.value > result.floor > 0


def test_a_configured_object_is_used_and_a_file_without_it_says_what_is_missing(tiny, tmp_path):
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x, t, y=None):
            return self.layer(torch.cat([x, t[:, None]], 1))

    pipeline = tiny.network(Mine()).build().fit(tmp_path / "run")
    with pytest.raises(fk.ConfigError, match=r"network: was given as a Python object of .*Mine"):
        fk.Pipeline.load(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run", network=Mine())
    assert torch.equal(again.sample(10), pipeline.sample(10))


def test_conditions_that_sampling_would_not_know_of_are_refused(tiny, tmp_path):
    builder = tiny.data(WithRealConditions()).network(TakesAny())
    with pytest.raises(
        fk.ConfigError, match=r"data: WithRealConditions gives conditions y, and its spec no num_classes"
    ):
        builder.build().fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Line(fk.Path):
    """Straight, of states that have no density to take a score of."""

    def sample(self, x0, z, t, generator=None):
        return x0 + fk.expand_time(t, z) * (z - x0)

    def velocity(self, x, x0, z, t):
        return z - x0


class Jumps(fk.Integrator):
    """Now and then each element goes to where it is headed."""

    order, stochastic, own_noise = 1.0, True, True

    def step(self, dynamics, x, t, s, generator=None):
        draws = fk.draw(lambda n, g: torch.rand((n, *x.shape[1:]), generator=g), len(x), generator)
        return torch.where(draws < (s - t) / (1 - t), x + (1 - t) * dynamics.drift(x, t), x)


def test_a_process_that_uses_no_score_takes_pairs_that_depend_on_each_other(tiny):
    builder = tiny.path(Line()).coupling("ot").sampling(Jumps(), steps=2)
    assert builder.build().sample(3).shape == (3, 2)


class OnTheCircle(GaussianPath):
    """For data on the unit circle."""

    def compatible_data(self, z):
        return None if torch.allclose(z.norm(dim=1), torch.ones(len(z))) else "its points are of norm 1"


def test_data_that_the_path_has_not_among_its_states_are_refused_before_training(tiny, tmp_path):
    circle = nn.functional.normalize(torch.randn(50, 2), dim=1)
    for data, why in (
        (WithRealConditions(), r"^data: its points are of norm 1$"),
        (fk.InMemory(circle), r"^data: its points are of norm 1; InMemory says a `normalization`, which shifts and"),
    ):
        with pytest.raises(fk.ConfigError, match=why):
            tiny.data(data).path(OnTheCircle(CondOT())).build().fit(tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_samples_that_are_not_finite_are_told(tiny, tmp_path):
    pipeline = tiny.build()
    x0 = torch.zeros(5, 2)
    x0[1, 0], x0[3, 1] = float("nan"), float("inf")
    with pytest.warns(fk.FlowkitWarning, match="2 of 5 samples are not finite"):
        pipeline.sample(5, x0=x0)
    next(pipeline.model.network.parameters()).data.fill_(float("nan"))
    with pytest.warns(fk.FlowkitWarning, match="40 of 40 samples are not finite"):
        pipeline.sample_to(tmp_path / "x.npy", 40, batch_size=16)


def test_units_in_which_networks_learn_badly_are_told(tiny, tmp_path):
    class Far(fk.DataSource):
        spec = fk.DataSpec((2,))

        def draw(self, n, generator=None):
            return fk.Batch(torch.randn(n, 2, generator=generator) + 30)

    with pytest.warns(
        fk.FlowkitWarning, match=r"data: as the model sees them their mean is 30\.1 and their deviation "
    ):
        tiny.data(Far()).build().fit(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error", fk.FlowkitWarning)
        tiny.data("circles").build().fit(tmp_path / "circles")


class WithRealConditions(fk.DataSource):
    """Points and the first of their numbers."""

    spec = fk.DataSpec((2,))

    def draw(self, n, generator=None):
        z = torch.randn(n, 2, generator=generator)
        return fk.Batch(z, z[:, 0])


class TakesAny(torch.nn.Linear):
    """A network of the user's own that leaves conditions aside."""

    def __init__(self):
        super().__init__(2, 2)

    def forward(self, x, t, y=None):
        return super().forward(x)


def test_any_checkpoint_is_loaded_and_the_weights_in_training_too(tiny, tmp_path):
    tiny.training(ema_decay=0.9).build().fit(tmp_path / "run")
    for step, averaged in ((10, True), (20, False)):
        loaded = fk.Pipeline.load(tmp_path / "run", step=step, averaged=averaged)
        file = tmp_path / f"run/checkpoints/step-{step:08d}" / ("ema" if averaged else "model")
        expected = load_file(file.with_suffix(".safetensors"))
        assert all(torch.equal(value, expected[name]) for name, value in loaded.model.state_dict().items())
        options = [*([] if averaged else ["--raw"]), "--checkpoint", step]
        flowkit("sample", "run", *options, "-n", 8, "--out", "x.npy", cwd=tmp_path)
        assert np.array_equal(np.load(tmp_path / "x.npy"), loaded.sample(8))
    with pytest.raises(fk.CheckpointError, match=r"there is no checkpoint of step 7; there are: 10, 20"):
        fk.Pipeline.load(tmp_path / "run", step=7)
    (tmp_path / "run/checkpoints/step-00000010/ema.safetensors").write_bytes(b"")
    with pytest.raises(fk.CheckpointError, match=r"step-00000010/ema\.safetensors is damaged"):
        fk.Pipeline.load(tmp_path / "run", step=10)


def test_an_object_given_to_load_leaves_the_other_settings_as_they_were(tiny, tmp_path):
    class Same(fk.Guidance):
        needs_condition = False

        def guide(self, model):
            return model

    tiny.sampling("euler", steps=7, guidance=Same()).build().fit(tmp_path / "run")
    loaded = fk.Pipeline.load(tmp_path / "run", sampling={"guidance": Same()})
    assert loaded.config["sampling"]["integrator"] == {"name": "euler"}
    assert loaded.sampler.steps == 7


def test_each_sample_has_its_own_label_whatever_the_batch(tiny, tmp_path):
    pipeline = tiny.data("moons", labels=True).training(steps=200, learning_rate=1e-2).build().fit(tmp_path / "run")
    labels = torch.arange(600) // 300  # the second batch of 256 is of both classes
    whole = pipeline.sample(600, y=labels, batch_size=1000)
    torch.testing.assert_close(pipeline.sample(600, y=labels, batch_size=256), whole, rtol=0, atol=1e-5)
    # A sample of the other class is another one, far above rounding.
    assert ((pipeline.sample(600, y=1 - labels) - whole).abs().amax(1) > 1e-3).all()


def test_labels_are_checked(tiny, tmp_path):
    pipeline = tiny.data("moons", labels=True).build()
    assert pipeline.labels(4).tolist() == [0, 1, 0, 1]
    assert pipeline.labels(3, 1).tolist() == [1, 1, 1]
    with pytest.raises(fk.ConfigError, match="from 0 to 1"):
        pipeline.labels(1, 5)
    with pytest.raises(fk.ConfigError, match="3 samples need 3 labels"):
        pipeline.labels(3, [0, 1])
    for wrong in ("a", ["a", "b", "c"]):
        with pytest.raises(fk.ConfigError, match="there is no class 'a'; the classes are upper, lower"):
            pipeline.labels(3, wrong)
    with pytest.raises(fk.ConfigError, match="labels should be whole numbers"):
        pipeline.labels(3, 1.7)
    with pytest.raises(fk.ConfigError, match=r"-1 for none, or names of classes \(upper, lower\); got"):
        pipeline.labels(2, ["upper", None])
    unnamed = tiny.data(fk.InMemory(torch.randn(4, 2), torch.arange(4))).build()
    for wrong in ("1", ["a", "b", "c"]):
        with pytest.raises(fk.ConfigError, match="labels should be whole numbers"):
            unnamed.labels(3, wrong)


@pytest.mark.parametrize("callbacks", [fk.ProgressBar(), [fk.ProgressBar], ["progress"], [print]])
def test_callbacks_that_are_none_are_refused_before_a_run_is_replaced(trained, tmp_path, callbacks):
    with pytest.raises(fk.ConfigError, match="callbacks should be a list of objects"):
        trained.fit(tmp_path / "run", overwrite=True, callbacks=callbacks)
    x = trained.sample(10)
    assert torch.equal(fk.Pipeline.load(tmp_path / "run").sample(10), x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pipeline: pickle.loads(pickle.dumps(pipeline))])
def test_a_copy_of_a_pipeline_gives_the_same_samples_and_goes_its_own_way(trained, tmp_path, copied):
    x, other = trained.sample(10), copied(trained)
    assert torch.equal(other.sample(10), x)
    other.model.network.load_state_dict({k: v + 1 for k, v in other.model.network.state_dict().items()})
    assert not torch.equal(other.sample(10), x)
    assert torch.equal(trained.sample(10), x)
    assert torch.equal(other.fit(tmp_path / "again").sample(10), x)


def test_plugins_of_ones_own_are_not_pickled(tiny):
    pipeline = fk.Pipeline.builder(PluginManager.discover()).from_config(tiny.build().config).build()
    with pytest.raises(TypeError, match=r"load the run where it is needed \(Pipeline.load\)"):
        pickle.dumps(pipeline)


def test_classes_are_asked_for_by_name_or_by_index(tiny):
    data = fk.InMemory(torch.randn(30, 2), torch.arange(30) % 3, class_names=["1", "2", "cat"])
    pipeline = tiny.data(data).build()
    assert pipeline.labels(2, "1").tolist() == [0, 0]
    assert pipeline.labels(2, 1).tolist() == [1, 1]
    assert pipeline.labels(4, ["cat", "1", -1, 1]).tolist() == [2, 0, -1, 1]
    assert pipeline.labels(2, np.array(["cat", "2"])).tolist() == [2, 1]
    x = pipeline.sample(2, y=("cat", "2"))
    assert torch.equal(x, pipeline.sample(2, y=[2, 1]))
    assert torch.equal(pipeline.encode(x, "cat"), pipeline.encode(x, 2))


def test_whole_numbers_of_any_type_are_taken(tiny, tmp_path):
    pipeline = tiny.build()
    expected = pipeline.sample(5, seed=3)
    for n, seed in ((np.int64(5), np.int64(3)), (np.uint8(5), np.int32(3)), (torch.tensor(5), torch.tensor(3))):
        assert torch.equal(pipeline.sample(n, seed=seed), expected)
        assert torch.equal(pipeline.trajectory(n, seed=seed)[-1], expected)
        pipeline.sample_to(tmp_path / "x.npy", n, seed=seed)
        assert np.array_equal(np.load(tmp_path / "x.npy"), expected)


def test_the_arguments_of_sampling_are_checked(tiny):
    pipeline = tiny.build()
    for n in (10.5, "a", None, -1, True, np.float64(3), np.int64(-1), torch.tensor([1, 2])):
        with pytest.raises(fk.ConfigError, match="the number of samples should be a whole number"):
            pipeline.sample(n)
    for seed in (None, -1, True, np.bool_(True), 3.0):
        with pytest.raises(fk.ConfigError, match="the seed should be a whole number"):
            pipeline.sample(3, seed=seed)
    assert pipeline.sample(0).shape == (0, 2)
    assert pipeline.trajectory(0).shape == (5, 0, 2)
    for x in (torch.zeros(2), torch.zeros(3, 5)):
        with pytest.raises(fk.ConfigError, match=r"x should have shape \(batch, 2\)"):
            pipeline.log_prob(x)
    with pytest.raises(fk.ConfigError, match=r"sampling\.guidance: needs labels to guide by"):
        pipeline.sample(3, guidance="classifier_free")
    labelled = tiny.data("moons", labels=True).build()
    with pytest.raises(fk.ConfigError, match=r"training\.condition_dropout: is 0"):
        labelled.sample(3, guidance="classifier_free")


class NoScorePath(fk.Path):
    def sample(self, x0, z, t, generator=None):
        return x0 + t[:, None] * (z - x0)

    def velocity(self, x, x0, z, t):
        return z - x0


class WrongNetwork(nn.Module):
    def forward(self, x, t, y=None):
        return x[:, :1]


class BlindNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x, t, y=None):
        return self.layer(x)


def misfit(builder):
    with pytest.raises(fk.ConfigError) as caught:
        builder.build()
    return str(caught.value)


def test_parts_that_do_not_fit_are_refused_when_built_in_words(tiny):
    assert "needs the conditional score" in misfit(tiny.path(NoScorePath()).loss("csm"))
    tiny.loss("cfm")
    assert "needs the score" in misfit(tiny.path(NoScorePath()).sampling("euler_maruyama", diffusion="constant"))
    tiny.path("gaussian").sampling("euler", diffusion=None)
    assert "returns (2, 1) for data of shape (2, 2); the head needs (2, 2)" in misfit(tiny.network(WrongNetwork()))
    assert "BlindNetwork does not take data of shape (2,)" in misfit(tiny.network(BlindNetwork()))
    tiny.network("mlp")
    assert "have no labels to drop" in misfit(tiny.training(condition_dropout=0.1))
    tiny.training(condition_dropout=0.0)
    assert "these data have none" in misfit(tiny.sampling(guidance="classifier_free"))
    message = misfit(tiny.data("moons", labels=True))
    assert "training.condition_dropout: is 0" in message
    tiny.data("moons").sampling(guidance=None)
    assert "use the head 'joint'" in misfit(tiny.loss("joint"))
    assert "ignores a diffusion coefficient" in misfit(tiny.loss("cfm").sampling("heun", diffusion="constant"))


def test_a_quantity_that_is_not_determined_at_an_end_is_refused_when_built(tiny):
    message = misfit(tiny.path("gaussian", schedule="vp").head("noise").loss("csm").sampling("heun"))
    assert "at t = 1" in message
    tiny.sampling("midpoint").build()


def test_misfits_are_reported_together(tiny):
    message = misfit(tiny.path(NoScorePath()).loss("csm").network(WrongNetwork()))
    assert "loss:" in message
    assert "network:" in message


def test_refused_settings_of_several_parts_are_reported_together(tiny):
    message = misfit(
        tiny.data("array", path="missing.npy")
        .path("gaussian", schedule={"name": "vp", "rate_min": 3.0, "rate_max": 1.0})
        .sampling(grid={"name": "uniform", "start": 0.5, "end": 0.2})
    )
    assert "missing.npy" in message
    assert "path.schedule: rate_max must be at least rate_min" in message
    assert "sampling.grid: start must be less than end" in message


def test_any_head_trains_and_samples(tiny, tmp_path):
    for head, loss in [("velocity", "cfm"), ("noise", "csm"), ("score", "csm"), ("data", "cfm"), ("joint", "joint")]:
        pipeline = tiny.head(head).loss(loss).sampling("heun", steps=8).build().fit(tmp_path / head)
        assert pipeline.sample(50).isfinite().all(), head
        assert pipeline.sample(50, integrator="euler_maruyama").isfinite().all(), head


def test_create_names_what_is_wrong():
    with pytest.raises(fk.ConfigError, match=r"network mlp.widht: no such setting"):
        fk.create("network", "mlp", widht=3, event_shape=(2,))
    assert fk.create("schedule", "vp", rate_max=5).rate_max == 5


def test_create_asks_for_what_a_pipeline_would_fill_in():
    with pytest.raises(fk.ConfigError, match=r"network mlp.event_shape: is required"):
        fk.create("network", "mlp")


@pytest.mark.parametrize("schedule", ["condot", "cosine", "vp"])
@pytest.mark.parametrize("head", ["velocity", "noise", "data"])
def test_every_schedule_and_head_goes_with_the_sde(tiny, schedule, head):
    pipeline = tiny.path("gaussian", schedule=schedule).head(head).sampling("euler_maruyama", steps=8).build()
    assert pipeline.sample(50).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "name"),
    [("integrator", "heun"), ("path", "linear"), ("diffusion", "beta"), ("guidance", 2.0), ("schedule", "vp")],
)
def test_sampling_by_hand_takes_objects_not_names(kind, name):
    given = {"integrator": fk.create("integrator", "heun"), kind: name}
    with pytest.raises(fk.UnsupportedError, match=rf"^{kind} takes an object.*got {name!r}"):
        fk.sample(None, torch.zeros(1, 2), **given)


def test_other_pieces_by_hand_take_objects_not_names():
    heun, source = fk.create("integrator", "heun"), fk.create("source", "gaussian")
    head, path = fk.create("head", "velocity"), fk.create("path", "gaussian")
    network, x = torch.nn.Identity(), torch.zeros(1, 2)
    with pytest.raises(fk.UnsupportedError, match=r"^times takes numbers or a grid.*got 'karras'"):
        fk.sample(None, x, integrator=heun, times="karras")
    with pytest.raises(fk.UnsupportedError, match=r"^integrator takes an object.*got 'heun'"):
        fk.log_prob(None, x, source=source, integrator="heun", times=[0, 1])
    with pytest.raises(fk.UnsupportedError, match=r"^source takes an object.*got 'gaussian'"):
        fk.log_prob(None, x, source="gaussian", integrator=heun, times=[0, 1])
    with pytest.raises(fk.UnsupportedError, match=r"^head takes an object.*got 'velocity'"):
        fk.Model(network, "velocity", path)
    with pytest.raises(fk.UnsupportedError, match=r"^path takes an object.*got 'gaussian'"):
        fk.Model(network, head, "gaussian")
