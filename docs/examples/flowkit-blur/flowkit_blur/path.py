r"""A Gaussian path whose signal is blurred: every spatial frequency has a schedule of its own."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, Quantity, Time, UnsupportedError, expand_time

from .cosines import from_cosines, squared_frequencies, to_cosines

__all__ = ["BlurPath"]

FLOOR = 1e-3
"""How much is left of the finest details where the blur is strongest: 0 would lose what `convert` has to recover."""


class BlurPath(Path):
    r"""$x_t = V a_t V^T z + (1 - t)\, x_0$: the signal gets sharper while it gets stronger.

    V is the cosine transform, and for a squared frequency $\lambda$

    $$a_t = t\, d_t, \qquad d_t = \epsilon + (1 - \epsilon)\, e^{-\lambda \tau_t}, \qquad
    \tau_t = \tfrac12 \sigma^2 \cos^2(\pi t / 2).$$

    $e^{-\lambda \tau}$ is the solution of the heat equation after the time $\tau$: a Gaussian blur of $\sqrt{2 \tau}$
    pixels. In the cosine basis each frequency is a Gaussian path, so with $\beta_t = 1 - t$

    $$u_t(x_t|z) = V \dot a_t V^T z - x_0, \qquad \nabla \log p_t(x_t|z) = -x_0 / \beta_t,$$

    and a marginal velocity u gives $E[z|x] = V (V^T (\beta_t u + x) / \Delta_t)$ and
    $E[x_0|x] = V (V^T (\dot a_t x - a_t u) / \Delta_t)$ with $\Delta_t = \dot a_t \beta_t + a_t > 0$.

    Arguments:
        blur: The blur of the signal at t = 0, sigma, in pixels. Images are blurred along height and width, vectors
            along their axis.

    References:
        Hoogeboom and Salimans 2023, Blurring Diffusion Models, section 4. https://arxiv.org/abs/2209.05557
    """

    def __init__(self, blur: Annotated[float, Field(ge=0)] = 20.0) -> None:
        self.blur = blur

    def sample(self, x0: Tensor, z: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A sharper and less noisy z, shape (batch, *event)."""
        del generator
        signal, _ = self._signal(z, t)
        return from_cosines(signal * to_cosines(z)) + expand_time(1 - t, x0) * x0

    def velocity(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """V a_t' V^T z - x0."""
        del x
        _, signal_dot = self._signal(z, t)
        return from_cosines(signal_dot * to_cosines(z)) - x0

    def score(self, x: Tensor, x0: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """-x0 / (1 - t)."""
        del x, z
        return self._score(x0, t)

    def can_convert(self, given: Quantity, wanted: Quantity) -> bool:
        """A velocity tells all but v, which would be another one at each frequency."""
        return given is wanted or (given is Quantity.VELOCITY and wanted is not Quantity.V)

    def convert(
        self,
        value: Tensor,
        x: Tensor,
        t: Time,
        given: Quantity,
        wanted: Quantity,
        data_mean: Tensor | float = 0.0,
    ) -> Tensor:
        """Data, noise or score from the velocity, a frequency at a time."""
        if given is wanted or not self.can_convert(given, wanted):
            return super().convert(value, x, t, given, wanted, data_mean)
        t = torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else torch.float64)
        beta = expand_time(1 - t, x)
        signal, signal_dot = self._signal(x, t)
        determinant = signal_dot * beta + signal
        if wanted is Quantity.DATA:
            return from_cosines(to_cosines(beta * value + x) / determinant)
        noise = from_cosines((signal_dot * to_cosines(x) - signal * to_cosines(value)) / determinant)
        return noise if wanted is Quantity.NOISE else self._score(noise, t)

    def slope(self, t: Tensor, given: Quantity, wanted: Quantity) -> Tensor:
        """1 for one and the same quantity; others are related by a matrix, and by no number.

        Raises:
            UnsupportedError: They are two.
        """
        if given is wanted:
            return torch.ones_like(t)
        raise UnsupportedError(
            f"BlurPath relates the {given.value} to the {wanted.value} by another coefficient at each frequency: "
            f"leave out what weighs one error as the other"
        )

    def _signal(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """a_t and its time derivative at each frequency; they multiply `to_cosines(x)`."""
        t = t.reshape(-1, *(1,) * (x.ndim - 1))
        spread = self.blur**2 / 2 * squared_frequencies(x).to(t)
        seen = (1 - FLOOR) * torch.exp(-spread * torch.cos(math.pi / 2 * t).square())
        seen_dot = seen * spread * (math.pi / 2) * torch.sin(math.pi * t)
        return (t * (FLOOR + seen)).to(x), (FLOOR + seen + t * seen_dot).to(x)

    def _score(self, noise: Tensor, t: Tensor) -> Tensor:
        # Times on an accelerator are not looked at, which would wait for it: training draws from the open interval.
        if t.device.type == "cpu" and bool((t == 1).any()):
            raise UnsupportedError("BlurPath has no score at t = 1, where there is no noise: stop short of it")
        return -noise / expand_time(1 - t, noise)
