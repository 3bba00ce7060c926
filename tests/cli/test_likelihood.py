"""`flowkit likelihood`: the figures of the library, and mistakes in a line."""

import re

import numpy as np
import pytest
import torch
from command import flowkit

import flowkit as fk

TINY = ["network.width=16", "training.steps=20", "training.batch_size=32", "training.checkpoint_every=20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("likelihood")
    flowkit("train", "moons", *TINY, "--no-report", cwd=folder)
    return folder


def figures(output, what):
    """A mean and its standard error."""
    return tuple(map(float, re.search(rf"{what}: (\S+) ± (\S+)", output).groups()))


def test_the_mean_log_density_of_points_of_the_data_is_told_with_its_standard_error(run):
    output = flowkit("likelihood", "runs/moons", "-n", 64, "--integrator", "rk4", "--steps", 8, "--seed", 3, cwd=run)
    pipeline = fk.Pipeline.load(run / "runs/moons")
    x = pipeline.data.draw(64, torch.Generator().manual_seed(3)).z
    expected = pipeline.log_prob(x, integrator="rk4", steps=8).double()
    mean, error = figures(output, "log density of 64 data points")
    assert mean == pytest.approx(float(expected.mean()), abs=1e-4)
    assert error == pytest.approx(float(expected.std()) / 8, rel=0.05)  # two digits
    assert "bits" not in output


def test_the_density_of_other_data_is_asked_for_with_the_units_of_the_run(run, tmp_path):
    """Held-out points: the model sees them in the units that it was trained in, not in their own."""
    folder = tmp_path / "tables"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, scale in (("train", 3.0), ("held", 1.0)):
        np.save(folder / f"{name}.npy", (scale * rng.normal(size=(64, 2))).astype("float32"))
    (folder / "table.yaml").write_text("data: {name: array, path: train.npy}\n")
    flowkit("train", "table.yaml", *TINY, "--no-report", "--out", "run", cwd=folder)
    output = flowkit("likelihood", "run", "data.path=held.npy", "-n", 64, cwd=folder)
    pipeline = fk.Pipeline.load(folder / "run", data={"path": folder / "held.npy"})
    expected = pipeline.log_prob(torch.from_numpy(np.load(folder / "held.npy"))).double().mean()
    assert figures(output, "points")[0] == pytest.approx(float(expected), abs=1e-4)
    assert "metrics" not in flowkit("evaluate", "run", "data.path=held.npy", "evaluation.samples=16", cwd=folder)


@pytest.mark.parametrize("options", [["--probes", 4], ["--probes", 4, "--rank", 2]])
def test_an_estimated_divergence_gives_the_same_within_its_error(tmp_path, options):
    data = fk.create("data", "gaussian_mixture", means=[[1.0] * 6, [-1.0] * 6], covariances=[0.5, 0.5])
    builder = fk.Pipeline.builder().data(data).network("mlp", width=16).training(steps=20, batch_size=32)
    builder.evaluation(metrics=[]).build().fit(tmp_path / "six")
    arguments = ["likelihood", "six", "-n", 400, "--integrator", "rk4", "--steps", 8]
    exact, _ = figures(flowkit(*arguments, cwd=tmp_path), "points")
    output = flowkit(*arguments, *options, cwd=tmp_path)
    off = float(re.search(r"of which ± (\S+) from", output).group(1))
    assert off > 0
    assert abs(figures(output, "points")[0] - exact) < 4 * off


def test_bits_per_dimension_are_of_data_with_noise_of_one_step(run):
    output = flowkit("likelihood", "runs/moons", "-n", 64, "--spacing", 0.25, cwd=run)
    pipeline = fk.Pipeline.load(run / "runs/moons")
    generator = torch.Generator().manual_seed(0)
    x = pipeline.data.draw(64, generator).z
    x = x + 0.25 * torch.rand(x.shape, generator=generator)
    expected = fk.bits_per_dim(pipeline.log_prob(x), (2,), 0.25)
    assert figures(output, "bits per dimension")[0] == pytest.approx(float(expected.mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rank", 2], "--rank: is of an estimate from --probes"),
        (["--spacing", 0], "--spacing: should be greater than 0; got 0"),
        (["training.steps=3"], "only settings of sampling, data, source, evaluation can be changed"),
    ],
)
def test_mistakes_are_told_in_a_line(run, options, sentence):
    assert sentence in flowkit("likelihood", "runs/moons", *options, cwd=run, code=2)


def test_an_sde_has_no_likelihood(run):
    output = flowkit("likelihood", "runs/moons", "--integrator", "euler_maruyama", cwd=run, code=1)
    assert "choose an ODE integrator" in output
