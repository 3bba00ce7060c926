"""Data that come in pairs (x0, z): kept by the coupling `given`, sampled from the source `data`, refused elsewhere."""

import numpy as np
import pytest
import torch
from flowkit_data.array import ArrayFile
from oracles import seeded
from safetensors.numpy import save_file

import flowkit as fk
from flowkit.random import BlockGenerator
from flowkit.training.batches import Batches
from flowkit.training.pairs import Pairs


def shifted_pairs(n=64):
    """Pairs in which z is x0 turned by a right angle, enlarged and shifted."""
    x0 = 5 + 2 * torch.randn(n, 2, generator=seeded())
    return x0, 3 * turned(x0) + torch.tensor([10.0, -10.0])


def turned(x):
    return torch.stack([-x[:, 1], x[:, 0]], 1)


class Endless(fk.DataSource):
    """Pairs z = 2 x0 with x0 ~ N(0, I), as they are."""

    spec = fk.DataSpec((2,), paired=True)

    def draw(self, n, generator=None):
        x0 = torch.randn(n, 2, generator=generator)
        return fk.Batch(2 * x0, x0=x0)


def test_a_batch_unpacks_into_data_and_conditions_with_pairs_and_without():
    z, y = fk.Batch(torch.zeros(2, 1), torch.ones(2), torch.zeros(2, 1))
    assert z.shape == (2, 1)
    assert y.shape == (2,)


@pytest.mark.parametrize("resident", [True, False])
def test_every_x0_arrives_with_its_z_both_standardised_by_their_own_mean_and_deviation(resident, monkeypatch):
    if not resident:
        monkeypatch.setattr("flowkit.training.batches._RESIDENT", 0)
    x0, z = shifted_pairs()
    batches = Batches(fk.InMemory(z, x0=x0), 32, 0)
    for _ in range(3):
        batch = next(batches)
        torch.testing.assert_close(turned(batch.x0), batch.z, atol=1e-5, rtol=0)  # float32 near 10
    torch.testing.assert_close(Batches(fk.InMemory(z, x0=x0), 64, 0).__next__().x0.std(0, correction=0), torch.ones(2))


def test_pairs_of_an_endless_source_keep_their_units():
    batch = next(Batches(Endless(), 32, 0))
    assert torch.equal(batch.z, 2 * batch.x0)


def test_training_takes_the_x0_of_the_data_and_draws_none():
    class NoSource(fk.Source):
        def sample(self, *arguments, **named):
            raise AssertionError("drawn from")

    stream = Pairs(Batches(Endless(), 32, 0), NoSource(), fk.create("coupling", "given"), seeded())
    x0, z, _ = next(stream)
    assert torch.equal(z, 2 * x0)


@pytest.fixture
def paired(tiny):
    x0, z = shifted_pairs(256)
    builder = tiny.data(fk.InMemory(z, x0=x0)).path("linear").coupling("given").source("data")
    return builder.training(steps=200, learning_rate=1e-2, batch_size=64, ema_decay=0.9)


def test_a_model_of_given_pairs_carries_x0_to_its_own_z(paired, tmp_path):
    """The path of a pair turns by a right angle and no two cross, so the model learns the turn. Independent pairs of
    two normal distributions would leave x0 where it is, which is 2 away in the root mean square.
    """
    pipeline = paired.build().fit(tmp_path / "run")
    start, end = pipeline.normalization.normalize(pipeline.trajectory(200, seed=1)[[0, -1]])
    assert float((end - turned(start)).square().sum(1).mean().sqrt()) < 0.4
    # The starts are x0 of the data, standardised.
    x0 = pipeline.data.source_normalization.normalize(pipeline.data.x0).double()
    assert float(torch.cdist(start.double(), x0).amin(1).max()) < 1e-5


def test_ones_own_x0_are_given_and_found_in_their_own_units(paired, tmp_path):
    pipeline = paired.build().fit(tmp_path / "run")
    x0, z = (ends[:50] for ends in shifted_pairs(256))
    found = pipeline.sample(50, x0=x0)
    # The model turns to within 0.4 of a deviation (above); z has deviations of 6.
    assert float((found - z).square().sum(1).mean().sqrt()) < 0.4 * 6
    back = pipeline.encode(found, integrator="rk4", steps=50)
    again = pipeline.sample(50, x0=back, integrator="rk4", steps=50)
    torch.testing.assert_close(again, found, rtol=1e-3, atol=1e-3)
    usual = pipeline.sample(50, seed=2)
    torch.testing.assert_close(pipeline.sample(50, x0=drawn(pipeline, 50, seed=2)), usual, rtol=1e-4, atol=1e-4)


def drawn(pipeline, n, seed):
    """The x0 that a seed draws, in their own units."""
    draws = BlockGenerator(seed, 0, n, "cpu").draw(lambda n, g: pipeline.source.sample(n, (2,), g))
    return pipeline.source.normalization.denormalize(draws)


def test_data_in_pairs_ask_for_the_source_by_name(tiny):
    x0, z = shifted_pairs()
    builder = tiny.data(fk.InMemory(z, x0=x0)).path("linear").coupling("given")
    with pytest.raises(fk.ConfigError, match=r"source: these data come in pairs \(x0, z\): say where sampling starts"):
        builder.build()
    assert builder.source("gaussian").build().config["source"] == {"name": "gaussian"}


def test_a_run_of_pairs_is_loaded_with_its_pairs(paired, tmp_path):
    pipeline = paired.build().fit(tmp_path / "run")
    x0, z = shifted_pairs(256)
    again = fk.Pipeline.load(tmp_path / "run", data=fk.InMemory(z, x0=x0))
    assert again.spec.paired
    assert torch.equal(again.sample(20, seed=2), pipeline.sample(20, seed=2))


def save_npy(folder, x0, z):
    np.save(folder / "x0.npy", x0)
    np.save(folder / "z.npy", z)
    return folder / "z.npy", folder / "x0.npy"


def save_npz(folder, x0, z):
    np.savez(folder / "pairs.npz", x0=x0, z=z)
    return folder / "pairs.npz", folder / "pairs.npz"


def save_safetensors(folder, x0, z):
    save_file({"x0": x0, "z": z}, folder / "pairs.safetensors")
    return folder / "pairs.safetensors", folder / "pairs.safetensors"


def save_csv(folder, x0, z):
    for name, values in (("x0", x0), ("z", z)):
        np.savetxt(folder / f"{name}.csv", values, delimiter=",", header="a,b", comments="", fmt="%.9g")
    return folder / "z.csv", folder / "x0.csv"


@pytest.mark.parametrize("save", [save_npy, save_npz, save_safetensors, save_csv])
def test_pairs_come_from_files(save, tmp_path):
    x0, z = shifted_pairs()
    path, file_of_x0 = save(tmp_path, x0.numpy(), z.numpy())
    data = ArrayFile(path, x0=file_of_x0)
    batch = data.take(torch.tensor([3, 1]))
    assert torch.equal(batch.x0, x0[[3, 1]])
    assert torch.equal(batch.z, z[[3, 1]])
    assert data.spec.paired
    assert not ArrayFile(path).spec.paired


def test_a_file_of_pairs_trains_and_samples_from_a_configuration(tiny, tmp_path):
    x0, z = shifted_pairs()
    path, file_of_x0 = save_npz(tmp_path, x0.numpy(), z.numpy())
    data = {"name": "array", "path": str(path), "x0": str(file_of_x0)}
    config = {"data": data, "coupling": "given", "source": "data", "path": "linear"}
    pipeline = tiny.from_config(config).build().fit(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run")
    assert torch.equal(again.sample(5), pipeline.sample(5))


@pytest.mark.parametrize(
    ("x0", "reason"),
    [
        (torch.zeros(3, 2), r"x0 should have the shape of the data, one x0 for each z: \(4, 2\); got \(3, 2\)"),
        (torch.tensor([[0.0, 0.0]] * 2 + [[0.0, torch.nan]] * 2), r"x0 should be finite numbers; row 2"),
    ],
)
def test_x0_that_do_not_go_with_the_data_are_refused(x0, reason):
    with pytest.raises(fk.DataError, match=reason):
        fk.InMemory(torch.zeros(4, 2), x0=x0)


def test_a_file_without_x0_is_refused_by_key(tmp_path):
    np.savez(tmp_path / "points.npz", z=np.zeros((3, 2)))
    with pytest.raises(fk.DataError, match="holds no key 'x0'; its keys: z"):
        ArrayFile(tmp_path / "points.npz", x0=tmp_path / "points.npz")


def test_what_does_not_go_with_pairs_is_refused_when_the_pipeline_is_built(tiny):
    with pytest.raises(fk.ConfigError, match=r"coupling: 'given' keeps the pairs .* these data have no x0") as caught:
        tiny.coupling("given").build()
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(fk.ConfigError, match="source: the data do not come in pairs"):
        tiny.coupling("independent").path("linear").source("data").build()
    x0, z = shifted_pairs()
    with pytest.raises(fk.ConfigError, match="coupling 'independent' takes for independent: use the coupling 'given'"):
        tiny.data(fk.InMemory(z, x0=x0)).build()


def test_the_score_is_unknown_for_given_pairs(paired):
    noisy = {"integrator": "euler_maruyama", "diffusion": "constant"}
    builder = paired.source("gaussian").path("gaussian").sampling(**noisy)
    with pytest.raises(fk.ConfigError, match="x0 and z are independent, which coupling 'given' does not leave them"):
        builder.build()
