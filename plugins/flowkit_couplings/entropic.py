r"""Entropic optimal transport between two batches, in the log domain.

With n points of weight 1/n on either side, the plan is

$$P_{ij} = \frac1{n^2} \exp\frac{f_i + g_j - C_{ij}}{\varepsilon},$$

and the potentials f, g of the least $\langle P, C \rangle + \varepsilon\, KL(P | \frac1{n^2})$ are the fixed point of

$$f_i = -\varepsilon \log \frac1n \sum_j \exp\frac{g_j - C_{ij}}\varepsilon$$

and the same for g. If the marginals are not prescribed, but cost $\rho\, KL$ each, every update is multiplied by
$\rho/(\rho + \varepsilon)$.
"""

import math

import torch
from torch import Tensor

__all__ = ["log_plan"]

_LOOK_EVERY = 10
"""Iterations between looks at the convergence, each of which waits for the device."""


def log_plan(
    cost: Tensor, epsilon: float, iterations: int, tolerance: float = 1e-2, penalty: float = math.inf
) -> tuple[Tensor, bool]:
    r"""Log P, shape (n, n), and whether it has converged.

    Sums of exponentials are taken in the log domain, so nothing underflows however small epsilon is. It starts at
    the largest cost and is halved down to its value.

    Arguments:
        cost: C, shape (n, n).
        epsilon: The regularisation, in units of the cost.
        iterations: How many updates of both potentials there are at most.
        tolerance: Converged is where an update changes no f_i by more than this times epsilon: the rows of a plan with
            prescribed marginals are then right to this relative error (and its columns to rounding).
        penalty: rho.

    References:
        Peyré and Cuturi 2019, Computational Optimal Transport, section 4.4. https://arxiv.org/abs/1803.00567
        Chizat et al. 2018, Scaling algorithms for unbalanced transport problems. https://arxiv.org/abs/1607.05816
        Schmitzer 2019, Stabilized sparse scaling algorithms. https://arxiv.org/abs/1610.06519
    """
    n = len(cost)

    def update(potential: Tensor, cost: Tensor, epsilon: float) -> Tensor:
        damping = 1 / (1 + epsilon / penalty)
        return -damping * epsilon * (torch.logsumexp((potential - cost) / epsilon, dim=1) - math.log(n))

    f = g = cost.new_zeros(n)
    halvings = max(0, math.ceil(math.log2(max(float(cost.max()), epsilon) / epsilon)))
    for scale in range(halvings, 0, -1):
        f = update(g, cost, epsilon * 2**scale)
        g = update(f, cost.T, epsilon * 2**scale)
    converged = False
    for iteration in range(1, iterations + 1):
        before, f = f, update(g, cost, epsilon)
        g = update(f, cost.T, epsilon)
        if iteration % _LOOK_EVERY == 0 or iteration == iterations:
            converged = bool((f - before).abs().max() <= tolerance * epsilon)
            if converged:
                break
    return (f[:, None] + g - cost) / epsilon - 2 * math.log(n), converged
