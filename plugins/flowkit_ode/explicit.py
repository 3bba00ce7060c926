"""Times written out, and times learned from trajectories."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from flowkit import Dynamics, Path, TimeGrid

from .midpoint import Midpoint
from .runge_kutta import advance

__all__ = ["ExplicitGrid", "fit_grid"]


class ExplicitGrid(TimeGrid):
    """The times given, which say themselves how many steps there are: `sampling.steps` makes no difference.

    Arguments:
        values: Two or more times in [0, 1], strictly increasing.
    """

    def __init__(self, values: list[float]) -> None:
        if len(values) < 2 or not 0 <= values[0] or not values[-1] <= 1 or any(s <= t for t, s in pairwise(values)):
            raise ValueError(f"values should be two or more strictly increasing times in [0, 1]; got {values}")
        self.values = values

    def times(self, steps: int, path: Path | None = None) -> Tensor:
        """The times as they are, float64."""
        return torch.tensor(self.values, dtype=torch.float64)


@torch.no_grad()
def fit_grid(dynamics: Dynamics, x: Tensor, steps: int, pilot_steps: int = 100) -> ExplicitGrid:
    r"""Short steps where trajectories bend: steps on which $\int |\ddot x_t|^{1/2} dt$ is the same.

    A step h of Euler's method errs by $h^2 |\ddot x_t|/2$, so these steps err alike, which makes their sum about the
    least. The acceleration is the root mean square over pilot trajectories, which cost 2 `pilot_steps` evaluations.

    Arguments:
        dynamics: An ODE, such as `ODE(model)`.
        x: States at t = 0, a hundred or so, shape (batch, *event).
        steps: How many steps the grid has.
        pilot_steps: How many the pilot trajectories have.

    References:
        de Boor 1974, Good approximation by splines with variable knots II, section 1 (equidistribution).

    Example:
        >>> grid = fit_grid(fk.ODE(model), torch.randn(256, 2), steps=10)
    """
    times = np.linspace(0, 1, pilot_steps + 1)
    velocities = []
    for t, s in pairwise(times.tolist()):
        slopes = Midpoint().slopes(dynamics, x, t, s)
        velocities.append(slopes[0])
        x = advance(x, s - t, Midpoint.tableau.b, slopes)
    bends = torch.stack([(v - u).double().square().mean().sqrt() for u, v in pairwise(velocities)]).cpu().numpy()
    density = np.sqrt(np.append(bends, bends[-1]))
    density = density + 1e-3 * density.mean() + 1e-300
    mass = np.append(0, np.cumsum(density))
    found = np.interp(np.linspace(0, mass[-1], steps + 1), mass, times)
    found[0], found[-1] = 0, 1
    return ExplicitGrid(found.tolist())
