"""Pairs drawn from entropic optimal transport plans."""

import warnings
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Condition, FlowkitWarning

from .cost import squared_distances
from .entropic import log_plan
from .pairing import Pairing

__all__ = ["SinkhornCoupling", "UnbalancedCoupling"]

Positive = Annotated[float, Field(gt=0)]
Iterations = Annotated[int, Field(ge=1)]


class SinkhornCoupling(Pairing):
    r"""Draws from the entropic plan with uniform marginals.

    Of all plans it has the least $\langle P, |x_0 - z|^2 \rangle + \varepsilon\, KL(P | \frac1{n^2})$.
    Every z is used once, and gets an x0 drawn from $P(x_0|z)$, so one x0 may be used several times and another not at
    all: once each on average over the draws. With $\varepsilon = 2 \sigma^2$ and the path
    `brownian_bridge` of the same $\sigma$, the pairs are those of the Schrödinger bridge between the two batches. Small
    epsilon comes near `ot`, large epsilon near `independent`.

    Arguments:
        regularization: epsilon, in units of the squared distance, which grows with the number of dimensions.
        iterations: How many iterations there are at most; if they do not suffice, a warning says so.

    References:
        Cuturi 2013, Sinkhorn Distances. https://arxiv.org/abs/1306.0895
        Tong et al. 2024, Simulation-free Schrödinger bridges via score and flow matching, proposition 2.1.
        https://arxiv.org/abs/2307.03672
    """

    def __init__(self, regularization: Positive = 0.1, iterations: Iterations = 1000) -> None:
        self.regularization, self.iterations = regularization, iterations

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """An x0 for each z; the z stay in their places."""
        plan, converged = log_plan(squared_distances(z, x0), self.regularization, self.iterations)
        if not converged:
            _warn("sinkhorn", self.iterations)
        i = torch.multinomial(plan.softmax(1), 1, generator=generator)[:, 0]
        return i, torch.arange(len(z), device=z.device)


class UnbalancedCoupling(Pairing):
    r"""Draws from the entropic plan with marginals that are not prescribed, but cost $\rho\, KL$ each.

    Points that are far from all others, such as outliers, are used less often, the less the smaller rho is. This is the
    one coupling that does not keep the marginals: the model learns the distribution of the z that the plan uses.

    Arguments:
        regularization: epsilon, in units of the squared distance.
        penalty: rho, in the same units.
        iterations: How many iterations there are at most; if they do not suffice, a warning says so.

    References:
        Chizat et al. 2018, Scaling algorithms for unbalanced transport problems. https://arxiv.org/abs/1607.05816
        Eyring et al. 2024, Unbalancedness in Neural Monge Maps Improves Unpaired Domain Translation.
        https://arxiv.org/abs/2311.15100
    """

    keeps_marginals = False

    def __init__(self, regularization: Positive = 0.1, penalty: Positive = 10.0, iterations: Iterations = 1000) -> None:
        self.regularization, self.penalty, self.iterations = regularization, penalty, iterations

    def pairing(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pairs (i, j) drawn from the plan with replacement: first a z by its weight, then an x0 for it."""
        cost = squared_distances(z, x0)
        plan, converged = log_plan(cost, self.regularization, self.iterations, penalty=self.penalty)
        if not converged:
            _warn("unbalanced", self.iterations)
        weights = plan.logsumexp(1).softmax(0)
        j = torch.multinomial(weights, len(z), replacement=True, generator=generator)
        return torch.multinomial(plan[j].softmax(1), 1, generator=generator)[:, 0], j


def _warn(name: str, iterations: int) -> None:
    """One text for all batches, so that it is shown once."""
    warnings.warn(
        f"coupling {name!r}: {iterations} iterations do not bring the plan's marginals to within 1%: raise "
        f"coupling.regularization (or coupling.iterations)",
        FlowkitWarning,
        stacklevel=3,
    )
