r"""The sampling ODE and SDE, $dX = [u_t + \sigma_t^2/2\, s_t]\,dt + \sigma_t\,dW$, as drift and diffusion."""

from abc import ABC, abstractmethod

from torch import Tensor

from .conditions import Condition
from .errors import UnsupportedError
from .interfaces.diffusion import DiffusionCoefficient
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.quantity import Quantity
from .shapes import Time

__all__ = ["ODE", "SDE", "Dynamics"]


class Dynamics(ABC):
    """What an integrator sees: dX = drift(X, t) dt + diffusion(t) dW.

    It keeps count: `evaluations` of the model, and steps that an adaptive integrator `rejected`.
    """

    evaluations: int = 0
    rejected: int = 0

    path: Path | None = None
    """The path whose marginals the solution has, for integrators that use more than the drift."""

    @abstractmethod
    def drift(self, x: Tensor, t: Time) -> Tensor:
        """Shape (batch, *event). An ODE is asked with one time, or with a time for each sample."""

    def diffusion(self, t: float) -> float:
        """sigma_t, 0 for an ODE."""
        del t
        return 0.0

    def predict(self, x: Tensor, t: Time, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """The marginal fields behind the drift, one tensor of shape (batch, *event) for each of `wanted`.

        Raises:
            UnsupportedError: There is no model behind this drift.
        """
        del x, t
        names = " and the ".join(quantity.value for quantity in wanted)
        raise UnsupportedError(f"{type(self).__name__} is a drift and no more; the {names} needs the ODE of a model")


class _OfModel(Dynamics):
    def __init__(self, model: Predictor, y: Condition, path: Path | None) -> None:
        self.model, self.y, self.path = model, y, path

    def predict(self, x: Tensor, t: Time, wanted: tuple[Quantity, ...]) -> tuple[Tensor, ...]:
        """One evaluation of the model."""
        self.evaluations += 1
        return self.model.predict(x, t, self.y, wanted)


class ODE(_OfModel):
    """dX = u_t(X) dt.

    Arguments:
        model: Gives the velocity.
        y: The condition that every evaluation is given.
        path: The path of the model, for integrators that need it.
    """

    def __init__(self, model: Predictor, *, y: Condition = None, path: Path | None = None) -> None:
        super().__init__(model, y, path)

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """u_t(x)."""
        return self.predict(x, t, (Quantity.VELOCITY,))[0]


class SDE(_OfModel):
    r"""$dX = [u_t(X) + \sigma_t^2/2\, s_t(X)]\,dt + \sigma_t\,dW$, whose marginals are p_t for every sigma.

    Arguments:
        model: Gives velocity and score.
        sigma: The diffusion coefficient.
        path: The path that `sigma` may refer to.
        y: The condition that every evaluation is given.

    References:
        Song et al. 2021, Score-Based Generative Modeling through SDEs, appendix D.1.
        https://arxiv.org/abs/2011.13456
    """

    path: Path

    def __init__(self, model: Predictor, sigma: DiffusionCoefficient, *, path: Path, y: Condition = None) -> None:
        super().__init__(model, y, path)
        self.sigma = sigma

    def drift(self, x: Tensor, t: Time) -> Tensor:
        """u_t(x) + sigma_t^2 / 2 s_t(x), at one time for all samples."""
        if isinstance(t, Tensor):
            raise UnsupportedError("an SDE takes one time for all samples: its noise has one coefficient sigma_t")
        sigma = self.diffusion(t)
        if sigma == 0.0:
            return self.predict(x, t, (Quantity.VELOCITY,))[0]
        velocity, score = self.predict(x, t, (Quantity.VELOCITY, Quantity.SCORE))
        return velocity + (sigma**2 / 2) * score

    def diffusion(self, t: float) -> float:
        """sigma_t."""
        return self.sigma.sigma(t, self.path)
