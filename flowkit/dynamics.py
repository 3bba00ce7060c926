r"""The sampling ODE and SDE, $dX = [u_t + \sigma_t^2/2\, s_t]\,dt + \sigma_t\,dW$, as drift and diffusion."""

from abc import ABC, abstractmethod

from torch import Tensor

from .conditions import Condition
from .interfaces.diffusion import DiffusionCoefficient
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.quantity import Quantity

__all__ = ["ODE", "SDE", "Dynamics"]


class Dynamics(ABC):
    """What an integrator sees: dX = drift(X, t) dt + diffusion(t) dW."""

    @abstractmethod
    def drift(self, x: Tensor, t: float) -> Tensor:
        """Shape (batch, *event)."""

    def diffusion(self, t: float) -> float:
        """sigma_t, 0 for an ODE."""
        del t
        return 0.0


class ODE(Dynamics):
    """dX = u_t(X) dt.

    Arguments:
        model: Gives the velocity.
        y: The condition that every evaluation is given.
    """

    def __init__(self, model: Predictor, y: Condition = None) -> None:
        self.model, self.y = model, y

    def drift(self, x: Tensor, t: float) -> Tensor:
        """u_t(x)."""
        return self.model.velocity(x, t, self.y)


class SDE(Dynamics):
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

    def __init__(self, model: Predictor, sigma: DiffusionCoefficient, path: Path, y: Condition = None) -> None:
        self.model, self.sigma, self.path, self.y = model, sigma, path, y

    def drift(self, x: Tensor, t: float) -> Tensor:
        """u_t(x) + sigma_t^2 / 2 s_t(x)."""
        sigma = self.diffusion(t)
        if sigma == 0.0:
            return self.model.velocity(x, t, self.y)
        velocity, score = self.model.predict(x, t, self.y, (Quantity.VELOCITY, Quantity.SCORE))
        return velocity + (sigma**2 / 2) * score

    def diffusion(self, t: float) -> float:
        """sigma_t."""
        return self.sigma.sigma(t, self.path)
