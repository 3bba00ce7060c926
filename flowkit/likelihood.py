r"""The density of what the ODE samples, by the instantaneous change of variables."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .conditions import Condition
from .dynamics import ODE, Dynamics
from .errors import UnsupportedError
from .interfaces.integrator import Integrator
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.source import Source
from .shapes import Time

__all__ = ["log_prob"]


def log_prob(
    model: Predictor,
    x: Tensor,
    y: Condition = None,
    *,
    source: Source,
    integrator: Integrator,
    times: Sequence[float] | Tensor,
    path: Path | None = None,
) -> Tensor:
    r"""$\log p_1(x) = \log p_{init}(x_0) - \int_0^1 \nabla\cdot u_t(x_t)\,dt$ along the ODE through x.

    The divergence is exact, at the price of one backward pass for every dimension of the event.

    Arguments:
        model: Gives the velocity.
        x: Where, shape (batch, *event).
        y: Conditions.
        source: The density at t = 0.
        integrator: An ODE method.
        times: The grid, increasing; it is gone through backwards.
        path: Which path the model is of; by default the model's own, if it has one.

    Returns:
        Nats, shape (batch,).

    Raises:
        UnsupportedError: The integrator solves SDEs, or the source has no density.

    References:
        Chen et al. 2018, Neural Ordinary Differential Equations, theorem 1. https://arxiv.org/abs/1806.07366
    """
    if integrator.stochastic:
        raise UnsupportedError(
            f"{type(integrator).__name__} solves an SDE, and a likelihood follows the ODE: choose an ODE integrator"
        )
    found = path or getattr(model, "path", None)
    scale = found.source_scale if isinstance(found, Path) else 1.0
    grid = torch.as_tensor(times, dtype=torch.float64).tolist()
    state = torch.cat([x.flatten(1), torch.zeros_like(x.flatten(1)[:, :1])], dim=1)
    with torch.no_grad():
        state = integrator.integrate(_WithDivergence(ODE(model, y), x.shape), state, grid[::-1])
        # Backwards, the last column has become minus the integral from 0 to 1.
        start = source.log_prob(state[:, :-1].reshape(x.shape) / scale) - x[0].numel() * math.log(scale)
        return start + state[:, -1]


class _WithDivergence(Dynamics):
    """The ODE of the flattened state with one more column, whose time derivative is the divergence."""

    def __init__(self, dynamics: Dynamics, shape: torch.Size) -> None:
        self.dynamics, self.shape = dynamics, shape

    def drift(self, x: Tensor, t: Time) -> Tensor:
        with torch.enable_grad():
            state = x[:, :-1].detach().requires_grad_()
            velocity = self.dynamics.drift(state.reshape(self.shape), t).flatten(1)
            divergence = torch.zeros_like(state[:, 0])
            for i in range(state.shape[1] if velocity.requires_grad else 0):  # a field of t alone has none
                (gradient,) = torch.autograd.grad(
                    velocity[:, i].sum(), state, retain_graph=True, materialize_grads=True
                )
                divergence = divergence + gradient[:, i]
        return torch.cat([velocity.detach(), divergence.detach()[:, None]], dim=1)
