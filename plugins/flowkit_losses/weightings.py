r"""Weights of a loss over time.

On a Gaussian path with $\lambda_t = \log(\alpha_t^2/\beta_t^2)$ the squared errors of data D, noise N, score s and
velocity u are

$$|N - x_0|^2 = e^{\lambda_t} |D - z|^2, \qquad |s - s_t|^2 = |N - x_0|^2 / \beta_t^2,
\qquad |u - u_t|^2 = (\beta_t \dot\lambda_t / 2)^2 |N - x_0|^2,$$

so the attribute `of` says which of them a weight belongs to, and losses on the others convert it.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, Quantity, Schedule, UnsupportedError, Weighting, holds_anywhere

__all__ = [
    "EDMWeighting",
    "LikelihoodWeighting",
    "MinSNRWeighting",
    "NoiseVarianceWeighting",
    "SNRWeighting",
    "SigmoidWeighting",
    "UnitWeighting",
    "VelocityWeighting",
]


class UnitWeighting(Weighting):
    """lambda(t) = 1, on the error of whatever the loss regresses."""

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """Ones, shape (batch,)."""
        return torch.ones_like(t)


class NoiseVarianceWeighting(Weighting):
    r"""The variance of the noise in x_t, on the error of whatever the loss regresses: $\beta_t^2$, on a two-sided path
    that of its own noise, $\gamma_t^2$. It makes score matching noise prediction on either.

    References:
        Song and Ermon 2019, Generative Modeling by Estimating Gradients, equation 6.
        https://arxiv.org/abs/1907.05600
        Tong et al. 2024, Simulation-Free Schrodinger Bridges via Score and Flow Matching, equation 17.
        https://arxiv.org/abs/2307.03672
    """

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """beta_t or gamma_t squared, shape (batch,)."""
        if not path.two_sided:
            return _schedule(path).beta(t).square()
        return path.slope(t, Quantity.SCORE, Quantity.NOISE).square()

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule, or a noise of its own."""
        if not path.two_sided:
            return _schedule_problems("noise_variance", path)
        if path.has_score and path.can_convert(Quantity.SCORE, Quantity.NOISE):
            return []
        return [f"weighting 'noise_variance' needs noise, and {type(path).__name__} has none of its own"]


class VelocityWeighting(UnitWeighting):
    """1 on the error of the velocity: under it every loss is flow matching."""

    of = Quantity.VELOCITY


class SNRWeighting(Weighting):
    r"""$\alpha_t^2/\beta_t^2 = e^{\lambda_t}$ on the error of the data: under it every loss is noise prediction.

    It is infinite at beta = 0, and refused there.

    References:
        Salimans and Ho 2022, Progressive Distillation, section 4. https://arxiv.org/abs/2202.00512
    """

    of = Quantity.DATA

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """The signal-to-noise ratio, shape (batch,)."""
        return _finite("snr", _snr(t, path))

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        return _schedule_problems("snr", path)


class MinSNRWeighting(Weighting):
    r"""$\min(e^{\lambda_t}, \gamma)$ on the error of the data, so $\min(1, \gamma/e^{\lambda_t})$ on that of the noise.

    Arguments:
        gamma: The most that a time counts.

    References:
        Hang et al. 2023, Efficient Diffusion Training via Min-SNR Weighting Strategy, section 3.4.
        https://arxiv.org/abs/2303.09556
    """

    of = Quantity.DATA

    def __init__(self, gamma: Annotated[float, Field(gt=0)] = 5.0) -> None:
        self.gamma = gamma

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """The signal-to-noise ratio up to gamma, shape (batch,)."""
        return _snr(t, path).clamp(max=self.gamma)

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        return _schedule_problems("min_snr", path)


class EDMWeighting(Weighting):
    r"""$1/\sigma^2 + 1/\sigma_{data}^2$ with $\sigma = \beta_t/\alpha_t$, on the error of the data.

    On the error of the network in the head `edm` that is 1. It is infinite at beta = 0, and refused there.

    Arguments:
        sigma_data: The standard deviation of the data, as the model sees them: about 0.5 for images in [-1, 1], 1 for
            standardised points. In the head `edm` it is the same.

    References:
        Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, table 1.
        https://arxiv.org/abs/2206.00364
    """

    of = Quantity.DATA

    def __init__(self, sigma_data: Annotated[float, Field(gt=0)] = 0.5) -> None:
        self.sigma_data = sigma_data

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """1 / sigma^2 + 1 / sigma_data^2, shape (batch,)."""
        return _finite("edm", _snr(t, path)) + self.sigma_data**-2

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule."""
        return _schedule_problems("edm", path)


class LikelihoodWeighting(Weighting):
    r"""$g_t^2 = \beta_t^2 \dot\lambda_t$ on the error of the score, so $\dot\lambda_t$ on that of the noise.

    g is the diffusion coefficient of the SDE that turns data into noise along the path. Half the loss, summed over the
    event, bounds the KL divergence from the data to the samples of the reversed SDE, up to a constant. Where the path
    starts without data, alpha_0 = 0, the square of g grows like 1/t: draw the times with `importance`.

    References:
        Song et al. 2021, Maximum Likelihood Training of Score-Based Diffusion Models, theorem 1.
        https://arxiv.org/abs/2101.09258
    """

    of = Quantity.SCORE

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """The square of g, shape (batch,): u_t(x) is something linear in x, plus g^2/2 s_t(x)."""
        return 2 * path.slope(t, Quantity.SCORE, Quantity.VELOCITY)

    def problems(self, path: Path) -> list[str]:
        """The path must turn a score into a velocity."""
        if path.can_convert(Quantity.SCORE, Quantity.VELOCITY):
            return []
        return [
            f"{type(self).__name__} needs a path that turns a score into a velocity; {type(path).__name__} does not"
        ]


class SigmoidWeighting(LikelihoodWeighting):
    r"""$g_t^2 S(b - \lambda_t)$ on the error of the score, so $\dot\lambda_t S(b - \lambda_t)$ on that of the noise.

    S is the sigmoid function: the likelihood, less the details that are too fine to see. On the straight path the
    weight on the error of the velocity is bounded.

    Arguments:
        bias: b, the log of the signal-to-noise ratio from which on times count less.

    References:
        Kingma and Gao 2023, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation (their lambda
        falls with their time: -lambda' there is lambda' here). https://arxiv.org/abs/2303.00848
        Hoogeboom et al. 2024, Simpler Diffusion (SiD2). https://arxiv.org/abs/2410.19324
    """

    def __init__(self, bias: float = 0.0) -> None:
        self.bias = bias

    def weight(self, t: Tensor, path: Path) -> Tensor:
        """The sigmoid times g squared, shape (batch,)."""
        log_snr = _schedule(path).log_snr(t)
        return torch.sigmoid(self.bias - log_snr) * super().weight(t, path)

    def problems(self, path: Path) -> list[str]:
        """The path must have a schedule as well."""
        return super().problems(path) + _schedule_problems("sigmoid", path)


def _schedule(path: Path) -> Schedule:
    assert path.schedule is not None  # see `problems`
    return path.schedule


def _snr(t: Tensor, path: Path) -> Tensor:
    schedule = _schedule(path)
    return (schedule.alpha(t) / schedule.beta(t)).square()


def _finite(name: str, weight: Tensor) -> Tensor:
    """Refuse an infinite weight, as far as `holds_anywhere` looks."""
    if holds_anywhere(weight.isinf()):
        raise UnsupportedError(f"the weighting {name!r} is infinite where beta is 0: draw times inside (0, 1)")
    return weight


def _schedule_problems(name: str, path: Path) -> list[str]:
    if path.schedule is not None:
        return []
    return [f"weighting {name!r} needs a path with a schedule; {type(path).__name__} has none"]
