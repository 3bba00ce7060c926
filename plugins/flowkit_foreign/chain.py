"""The schedule of a chain of discrete steps, whichever rates it has."""

import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from flowkit import Schedule, UnsupportedError

__all__ = ["DiscreteChain"]


class DiscreteChain(Schedule):
    r"""A chain of N noising steps made continuous: $\alpha_t^2 = \prod_{i<s} (1 - b_i)$ at t = 1 - s/N, and
    $\beta_t^2 = 1 - \alpha_t^2$.

    In between, $I_t = -\log \alpha_t^2$ is the cubic that keeps growing (PCHIP), so alpha and beta have continuous
    derivatives. A model that was trained at the timestep k = 0...N - 1 is at t = 1 - (k + 1)/N. The chain ends with
    a trace of the data, alpha_0.

    Arguments:
        alphas_cumprod: The N products, shape (N,), falling from below 1 to above 0.

    Raises:
        UnsupportedError: They do not.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, equation 4. https://arxiv.org/abs/2006.11239
        Fritsch and Carlson 1980, Monotone Piecewise Cubic Interpolation, SIAM Journal on Numerical Analysis 17 (2).
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        products = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod.detach().double().cpu()])
        if not bool((products.diff() < 0).all() and products[-1] > 0):
            raise UnsupportedError(
                f"alphas_cumprod should fall from below 1 to above 0 with every step; the last is {products[-1]:g}"
            )
        self.alphas_cumprod, self._steps = alphas_cumprod, len(alphas_cumprod)
        tau = torch.linspace(0, 1, len(products), dtype=torch.float64)
        # A row for each step: the coefficients of the powers of tau - k/N from the third to the zeroth.
        self._pieces = torch.from_numpy(PchipInterpolator(tau.numpy(), -products.log().numpy()).c.T.copy())

    def alpha(self, t: Tensor) -> Tensor:
        """Exponential of -I/2."""
        return torch.exp(-self._integral(t)[0] / 2).to(t.dtype)

    def beta(self, t: Tensor) -> Tensor:
        """Such that alpha^2 + beta^2 = 1, without cancellation near t = 1."""
        return torch.sqrt(-torch.expm1(-self._integral(t)[0])).to(t.dtype)

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Half the rate times alpha."""
        integral, rate = self._integral(t)
        return (torch.exp(-integral / 2) * rate / 2).to(t.dtype)

    def beta_dot(self, t: Tensor) -> Tensor:
        """-alpha alpha_dot / beta, which is -inf at t = 1."""
        integral, rate = self._integral(t)
        return (-torch.exp(-integral) * rate / 2 / torch.sqrt(-torch.expm1(-integral))).to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        """-log(e^I - 1), without overflow."""
        integral, _ = self._integral(t)
        return (-integral - torch.log(-torch.expm1(-integral))).to(t.dtype)

    def _integral(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """I and its derivative in tau = 1 - t, in float64 where the device has that: steps are short against t."""
        tau = 1 - (t if t.device.type == "mps" else t.double())
        step = (tau * self._steps).long().clamp(0, self._steps - 1)
        cubic, square, slope, constant = self._pieces.to(tau)[step].unbind(-1)
        s = tau - step.to(tau) / self._steps
        return ((cubic * s + square) * s + slope) * s + constant, (3 * cubic * s + 2 * square) * s + slope
