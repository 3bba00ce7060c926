import numpy as np
import torch
from flowkit_blur.cosines import from_cosines, to_cosines
from flowkit_blur.path import FLOOR, BlurPath
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

import flowkit as fk
from flowkit.testing import parametrize_with_checks


@parametrize_with_checks([BlurPath(), BlurPath(blur=2.0), BlurPath(blur=0.0)])
def test_it_is_a_path(component, check):
    check(component)


def test_the_transform_is_the_orthonormal_cosine_transform_of_images_and_signals():
    image, signal = torch.randn(2, 3, 8, 6, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
    assert np.allclose(to_cosines(image), dctn(image.numpy(), type=2, norm="ortho", axes=(2, 3)))
    assert np.allclose(to_cosines(signal), dctn(signal.numpy(), type=2, norm="ortho", axes=(1,)))
    assert torch.allclose(from_cosines(to_cosines(image)), image)


def test_the_signal_is_blurred_by_a_gaussian_of_so_many_pixels():
    z = torch.randn(1, 1, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.2, 0.5):
        signal = BlurPath(blur=4.0).sample(torch.zeros_like(z), z, torch.tensor([t], dtype=torch.float64))
        blurred = (signal / t - FLOOR * z) / (1 - FLOOR)
        pixels = 4.0 * np.cos(np.pi * t / 2)
        # A kernel cut off at 8 deviations, at whole pixels: for 2.8 pixels and more, that changes less than 1e-10.
        wanted = gaussian_filter(z[0, 0].numpy(), pixels, mode="reflect", truncate=8.0)
        assert np.allclose(blurred[0, 0], wanted, atol=1e-9)


def test_details_come_last():
    """Of white data, the share of the signal that is seen half-way falls with the frequency."""
    z = from_cosines(torch.ones(1, 16, dtype=torch.float64))
    signal = to_cosines(BlurPath(blur=3.0).sample(torch.zeros_like(z), z, torch.tensor([0.5], dtype=torch.float64)))
    assert bool((signal.diff() < 0).all())


def test_a_velocity_model_of_images_is_sampled_as_an_ode_and_as_an_sde(tmp_path):
    builder = fk.Pipeline.builder().data("digits").path("blur", blur=2.0).network("mlp", width=32)
    builder = builder.training(steps=2, batch_size=8).sampling("euler_maruyama", diffusion="constant", steps=2)
    pipeline = builder.build().fit(tmp_path / "run")
    assert pipeline.sample(3).shape == (3, 1, 8, 8)
    assert bool(pipeline.sample(3, integrator="heun", diffusion=None, steps=2).isfinite().all())
