"""The source `data`: data points as x0."""

import pytest
import torch
from flowkit_data.eight_gaussians import EightGaussians
from flowkit_data.source import DataAsSource

import flowkit as fk


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Shifted(fk.InMemory):
    """Points in units of their own."""

    @property
    def normalization(self):
        return fk.Normalization(torch.tensor([5.0, -5.0]), torch.tensor([10.0, 2.0]))


@pytest.fixture
def between(tiny):
    return tiny.path("linear").source("data", data={"name": "eight_gaussians", "noise": 0.2})


def test_x0_are_draws_of_the_data():
    x0 = DataAsSource(EightGaussians()).sample(50, (2,), seeded(), dtype=torch.float64)
    assert torch.equal(x0, EightGaussians().draw(50, seeded()).z.double())


def test_x0_are_in_the_units_that_their_own_data_have_for_a_model():
    points = torch.tensor([[15.0, -3.0], [-5.0, -7.0]])
    x0 = DataAsSource(Shifted(points)).sample(20, (2,), seeded())
    assert set(map(tuple, x0.tolist())) == {(1.0, 1.0), (-1.0, -1.0)}


def test_a_pipeline_leads_from_data_to_data_and_comes_back_from_its_folder(between, tmp_path):
    pipeline = between.build().fit(tmp_path / "run")
    again = fk.Pipeline.load(tmp_path / "run")
    assert again.source.data.noise == 0.2
    assert torch.equal(again.sample(300, seed=3), pipeline.sample(300, seed=3))
    # A GPU may add up other numbers of samples in another order; the network is small, and the states are of order 1.
    torch.testing.assert_close(pipeline.sample(300, seed=3)[:10], pipeline.sample(10, seed=3), rtol=1e-5, atol=1e-5)
    start = pipeline.normalization.normalize(pipeline.trajectory(300, seed=3)[0])
    # The eight centres have distance sqrt(2) from the origin; 300 draws of noise 0.2 stay within 5 deviations.
    assert float((start.norm(dim=1) - 2**0.5).abs().max()) < 5 * 0.2
    assert len(pipeline.evaluate()) == 1


def test_another_shape_is_refused_when_the_pipeline_is_built(tiny):
    with pytest.raises(
        fk.ConfigError, match=r"source: its data points have shape \(1, 8, 8\), and those of the data \(2,\)"
    ):
        tiny.path("linear").source("data", data="digits").build()


def test_a_gaussian_path_refuses_it(tiny):
    with pytest.raises(fk.ConfigError, match="starts from N"):
        tiny.source("data", data="eight_gaussians").build()


def test_the_density_is_refused_by_name(between):
    with pytest.raises(fk.UnsupportedError, match="source 'data' has no log_prob"):
        between.build().log_prob(torch.zeros(2, 2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_generator_of_another_device_decides_the_draws():
    source = DataAsSource(EightGaussians())
    draws = [source.sample(4, (2,), torch.Generator("cuda").manual_seed(seed), "cuda") for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
