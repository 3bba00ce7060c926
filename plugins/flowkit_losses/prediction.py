"""The losses of diffusion models: the noise, or the data point, predicted from x_t."""

from torch import Tensor

from flowkit import Condition, Model, Path, Quantity, TimeSampler, Weighting

from .distances import Distance
from .regression import Regression
from .times import LogNormalTime
from .weightings import EDMWeighting

__all__ = ["DataPrediction", "EDMLoss", "NoisePrediction"]


class NoisePrediction(Regression):
    r"""$E_{t,z,x_0}\, \lambda(t) |N^\theta_t(x_t) - x_0|^2$: which noise is in x_t.

    With lambda = 1 the "simple" loss of DDPM, which is conditional score matching with beta_t^2. On a two-sided path,
    whose x0 need not be noise, it is the path's own noise eps that is regressed, as the mean of that is what its score
    is made of.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t).
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, equation 14. https://arxiv.org/abs/2006.11239
    """

    quantity = Quantity.NOISE

    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """The noise x0, or eps on a two-sided path."""
        if not path.two_sided:
            return x0
        return path.convert(path.score(x, x0, z, t), x, t, Quantity.SCORE, Quantity.NOISE)

    def problems(self, model: Model) -> list[str]:
        """A two-sided path must have a noise of its own."""
        path = model.path
        known = not path.two_sided or (path.has_score and path.can_convert(Quantity.SCORE, Quantity.NOISE))
        return super().problems(model) + (
            [] if known else [f"needs noise, and {type(path).__name__} has none of its own"]
        )


class DataPrediction(Regression):
    r"""$E_{t,z,x_0}\, \lambda(t) |D^\theta_t(x_t) - z|^2$: which data point is in x_t.

    With the weighting `snr` it is noise prediction, with `velocity` flow matching.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t).
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Salimans and Ho 2022, Progressive Distillation, section 4. https://arxiv.org/abs/2202.00512
    """

    quantity = Quantity.DATA

    def target(self, path: Path, x: Tensor, x0: Tensor, z: Tensor, t: Tensor, y: Condition) -> Tensor:
        """The data point z."""
        return z


class EDMLoss(DataPrediction):
    r"""Data prediction with the noise levels and the weighting of EDM, on any schedule; its head is `edm`.

    $$E_{\sigma,z,n}\, \lambda(\sigma) |D^\theta(z + n; \sigma) - z|^2, \qquad \ln\sigma \sim N(-1.2, 1.2^2), \qquad
    \lambda(\sigma) = \frac{\sigma^2 + \sigma_{data}^2}{(\sigma\, \sigma_{data})^2},$$

    where $\sigma = \beta_t/\alpha_t$ and $z + n = x_t/\alpha_t$.

    Arguments:
        time: The distribution of t.
        weighting: lambda(t); its sigma_data is that of the head.
        distance: In place of the square: "huber" or "pseudo_huber".

    References:
        Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, equation 2 and table 1.
        https://arxiv.org/abs/2206.00364
    """

    def __init__(
        self,
        time: TimeSampler = LogNormalTime(),  # noqa: B008 (immutable)
        weighting: Weighting = EDMWeighting(),  # noqa: B008
        distance: Distance = "squared",
    ) -> None:
        super().__init__(time, weighting, distance)
