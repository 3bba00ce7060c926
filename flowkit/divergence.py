r"""The divergence $\nabla\cdot u = \operatorname{tr} J$ of a velocity, exact or estimated from products with J."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from .errors import UnsupportedError
from .random import Generator, randn_like

__all__ = ["Divergence", "ExactDivergence", "HutchPlusPlus", "Hutchinson"]

Product = Callable[[Tensor], Tensor]
"""v to J^T v, both of shape (batch, d): one backward pass."""


class Divergence(ABC):
    """A way to find tr J from products J^T v.

    A stochastic one gives several independent estimates, each unbiased; what they are off by from each other tells the
    standard error. Its noise is drawn once for a whole solve, so that the ODE has a right-hand side.
    """

    estimates: int = 1
    """How many estimates it gives of each sample."""

    def draw(self, x: Tensor, generator: Generator | None = None) -> Tensor | None:
        """The noise for a solve from the flattened states x, shape (batch, d); None if there is none."""
        del x, generator
        return None

    @abstractmethod
    def trace(self, product: Product, noise: Tensor | None, x: Tensor) -> Tensor:
        """Tr J for each sample.

        Arguments:
            product: v to J^T v.
            noise: What `draw` gave.
            x: The flattened states, shape (batch, d).

        Returns:
            Shape (batch, estimates).
        """


class ExactDivergence(Divergence):
    """The sum of the diagonal of J: d backward passes."""

    def trace(self, product: Product, noise: Tensor | None, x: Tensor) -> Tensor:
        """The trace, shape (batch, 1)."""
        total = torch.zeros_like(x[:, :1])
        for row in torch.eye(x.shape[1], dtype=x.dtype, device=x.device):
            total = total + (row * product(row.expand_as(x))).sum(1, keepdim=True)
        return total


class Hutchinson(Divergence):
    r"""$e^\top J e$ with independent $e$ of unit variance, whose mean is tr J: `probes` backward passes.

    Of signs $e_i = \pm 1$ the diagonal of J makes no error; the variance is
    $\tfrac12 \|J + J^\top\|_F^2$ without the diagonal. Of normal $e$ it is that with the diagonal.

    Arguments:
        probes: How many e, each an estimate of its own.
        gaussian: Normal e instead of signs.

    References:
        Hutchinson 1990, A stochastic estimator of the trace of the influence matrix.
        Grathwohl et al. 2019, FFJORD, section 3.1. https://arxiv.org/abs/1810.01367
    """

    def __init__(self, probes: int = 1, gaussian: bool = False) -> None:
        if probes < 1:
            raise ValueError(f"probes must be at least 1, got {probes}")
        self.probes, self.gaussian, self.estimates = probes, gaussian, probes

    def draw(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """The e, shape (batch, probes, d)."""
        noise = randn_like(x[:, None].expand(-1, self.probes, -1), generator)
        return noise if self.gaussian else torch.where(noise < 0, -1.0, 1.0).to(x.dtype)

    def trace(self, product: Product, noise: Tensor | None, x: Tensor) -> Tensor:
        """One estimate a probe, shape (batch, probes)."""
        assert noise is not None
        return torch.stack([(e * product(e)).sum(1) for e in noise.unbind(1)], dim=1)


class HutchPlusPlus(Divergence):
    r"""The trace on a subspace exactly, and Hutchinson's estimate on what is left.

    With S orthonormal, random, of `rank` columns, Q an orthonormal basis of $[S, J^\top S]$, and $P = I - Q Q^\top$,

    $$\operatorname{tr} J = \operatorname{tr}(Q^\top J Q) + \operatorname{tr}(P J P), \qquad
      \operatorname{tr}(P J P) = E\, g^\top J g, \quad g = \sqrt{d - 2r}\; P\xi / \|P\xi\|,\ \xi \sim N(0, I).$$

    It is unbiased whatever Q is. Meyer et al. take the range of $J^\top S$ alone; the products with S are there in any
    case, and with S in Q a multiple of the identity in J changes nothing. The g of one length, as in XTrace, make no
    error on it either. So of a symmetric J, a multiple of the identity and `rank` directions, nothing is left to
    estimate; the velocities of mixtures of few components are of that form.

    Costs 2 `rank` + `probes` backward passes.

    Arguments:
        rank: r, the columns of S; less than half of d.
        probes: How many g, each an estimate of its own.

    References:
        Meyer et al. 2021, Hutch++: Optimal Stochastic Trace Estimation, algorithm 1. https://arxiv.org/abs/2010.09649
        Epperly et al. 2024, XTrace. https://arxiv.org/abs/2301.07825
    """

    def __init__(self, rank: int = 4, probes: int = 4) -> None:
        for name, value in (("rank", rank), ("probes", probes)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.rank, self.probes, self.estimates = rank, probes, probes

    def draw(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """The columns of S and the xi, shape (batch, rank + probes, d)."""
        if 2 * self.rank >= x.shape[1]:
            raise UnsupportedError(
                f"HutchPlusPlus of rank {self.rank} needs more than {2 * self.rank} dimensions, and there are "
                f"{x.shape[1]}: take ExactDivergence"
            )
        noise = randn_like(x[:, None].expand(-1, self.rank + self.probes, -1), generator)
        return torch.cat([_orthonormal(noise[:, : self.rank]), noise[:, self.rank :]], dim=1)

    def trace(self, product: Product, noise: Tensor | None, x: Tensor) -> Tensor:
        """One estimate a probe, shape (batch, probes)."""
        assert noise is not None
        sketch, probes = noise[:, : self.rank], noise[:, self.rank :]
        of_sketch = _rows(product, sketch)
        basis = _orthonormal(torch.cat([sketch, of_sketch], dim=1))  # the sketch up to signs, then what is new
        new = basis[:, self.rank :]
        exact = (sketch * of_sketch).sum((1, 2)) + (new * _rows(product, new)).sum((1, 2))
        rest = probes - (probes @ basis.mT) @ basis
        rest = rest * ((x.shape[1] - 2 * self.rank) ** 0.5 / rest.norm(dim=2, keepdim=True))
        return exact[:, None] + (rest * _rows(product, rest)).sum(2)


def _rows(product: Product, vectors: Tensor) -> Tensor:
    """The product with each of (batch, k, d)."""
    return torch.stack([product(v) for v in vectors.unbind(1)], dim=1)


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the rows, a constant: the estimate has the right mean, and gradients, whatever it is."""
    precise = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    return torch.linalg.qr(precise.mT).Q.mT.to(rows.dtype)
