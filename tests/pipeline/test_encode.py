"""Data go back to the noise that a pipeline carries to them."""

import functools

import pytest
import torch

import flowkit as fk

INTEGRATORS = [
    "heun",
    "rk4",
    "dopri5",
    "adams_bashforth",
    "dpmpp_2s",
    "dpmpp_2m",
    "dpmpp_3m",
    "unipc",
    "exponential_ab",
]


def labelled(path="condot"):
    return (
        fk.Pipeline.builder()
        .data("moons", labels=True)
        .path("gaussian", schedule=path)
        .network("mlp", width=16, depth=2)
        .training(steps=100, batch_size=32, warmup_steps=2, condition_dropout=0.2)
        .sampling("rk4", steps=60, grid="log_snr", batch_size=30)
        .build()
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Pipelines by their schedule, trained when they are asked for first; tests only sample from them."""
    return functools.cache(lambda schedule="condot": labelled(schedule).fit(tmp_path_factory.mktemp("run") / "run"))


@pytest.mark.parametrize("schedule", ["condot", "ve", "edm", "cosine"])
@pytest.mark.parametrize(
    "sampling",
    [{}, {"guidance": {"name": "classifier_free", "scale": 2.0}}, {"grid": {"name": "log_snr", "start": 0.1}}],
    ids=["plain", "guided", "late"],
)
def test_what_is_encoded_is_sampled_again(trained, schedule, sampling):
    pipeline = trained(schedule)
    x0 = torch.randn(70, 2, generator=torch.Generator().manual_seed(0))
    x = pipeline.sample(70, 1, x0=x0, **sampling)
    encoded = pipeline.encode(x, 1, **sampling)
    assert encoded.shape == (70, 2)
    torch.testing.assert_close(encoded, x0, rtol=0.01, atol=0.01)
    torch.testing.assert_close(pipeline.sample(70, 1, x0=encoded, **sampling), x, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_every_ode_integrator_encodes(trained, integrator):
    pipeline = trained()
    x, cost = pipeline.sample(20, 0), fk.Cost()
    expected = pipeline.encode(x, 0, integrator="dopri5")
    found = pipeline.encode(x, 0, integrator=integrator, steps=200, grid="uniform", cost=cost)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert cost.evaluations > 0


def test_what_cannot_be_encoded_is_refused():
    pipeline = labelled()
    with pytest.raises(fk.UnsupportedError, match="EulerMaruyama draws noise, and encoding follows the ODE"):
        pipeline.encode(torch.zeros(1, 2), 0, integrator="euler_maruyama")
    with pytest.raises(fk.UnsupportedError, match=r"depends on the label: give y \(-1: none\)"):
        pipeline.encode(torch.zeros(1, 2))
    with pytest.raises(fk.ConfigError, match=r"x should have shape \(batch, 2\); got \(1, 3\)"):
        pipeline.encode(torch.zeros(1, 3), 0)
    assert pipeline.encode(torch.zeros(0, 2), 0).shape == (0, 2)
    blurred = fk.Pipeline.builder().data("moons").network("mlp").path("linear", gamma="constant").build()
    with pytest.raises(fk.UnsupportedError, match=r"adds noise of its own to x0 at t = 0, and data"):
        blurred.encode(torch.zeros(1, 2))


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (2,)])
def test_draws_to_start_from_have_the_shape_of_the_samples(tiny, shape):
    with pytest.raises(fk.ConfigError, match=r"x0 should have shape \(4, 2\); got \("):
        tiny.build().sample(4, x0=torch.zeros(shape))
