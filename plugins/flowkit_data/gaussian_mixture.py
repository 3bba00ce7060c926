"""A mixture of Gaussians of your own."""

import torch
from torch import Tensor

from flowkit import Batch, DataSource, DataSpec

__all__ = ["GaussianMixture"]


class GaussianMixture(DataSource):
    r"""The mixture $\sum_k w_k\, N(m_k, \Sigma_k)$; every draw is fresh.

    The model sees the points as they are, so that the field `gaussian_mixture` with the same settings is what it should
    learn.

    Arguments:
        means: The m_k, K lists of d numbers.
        covariances: The Sigma_k: K variances, K lists of d variances, or K matrices of d lists of d numbers.
        weights: The w_k, up to a factor; equal by default.
        labels: Whether points carry their component k as the condition y.
    """

    def __init__(
        self,
        means: list[list[float]],
        covariances: list[float] | list[list[float]] | list[list[list[float]]],
        weights: list[float] | None = None,
        labels: bool = False,
    ) -> None:
        self.means, self.covariances, self.weights, self.labels = means, covariances, weights, labels
        self._means = torch.as_tensor(means, dtype=torch.float32)
        if self._means.ndim != 2 or not self._means.numel():
            raise ValueError(f"means must be K lists of d numbers, as in [[-2, 0], [2, 0]]; got {means}")
        self._factors = _factors(torch.as_tensor(covariances, dtype=torch.float32), self._means)
        self._weights = torch.ones(len(self._means)) if weights is None else torch.as_tensor(weights).float()
        if self._weights.shape != self._means.shape[:1] or not (self._weights > 0).all():
            raise ValueError(f"weights must be {len(self._means)} positive numbers, one for each mean; got {weights}")

    @property
    def spec(self) -> DataSpec:
        """The number of coordinates, and as many classes as components where they are asked for."""
        count, size = self._means.shape
        return DataSpec((size,), count if self.labels else None)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """A component for every point, then a point of it: m_k + L_k e with L_k L_k^T = Sigma_k and e ~ N(0, I)."""
        which = torch.multinomial(self._weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self._means.shape[1], generator=generator)
        z = self._means[which] + torch.einsum("nij,nj->ni", self._factors[which], noise)
        return Batch(z, which if self.labels else None)


def _factors(covariances: Tensor, means: Tensor) -> Tensor:
    """The Cholesky factors L_k, shape (K, d, d)."""
    shape = tuple(covariances.shape)
    if shape == means.shape[:1]:
        covariances = covariances[:, None].expand_as(means)
    if covariances.shape == means.shape:
        covariances = torch.diag_embed(covariances)
    count, size = means.shape
    if covariances.shape != (count, size, size):
        raise ValueError(
            f"covariances must have shape ({count},), ({count}, {size}) or ({count}, {size}, {size}), as there are "
            f"{count} means of {size} numbers; got {shape}"
        )
    factors, failed = torch.linalg.cholesky_ex(covariances)
    if failed.any() or not torch.allclose(covariances, covariances.mT):
        raise ValueError("covariances must be positive variances, or symmetric positive definite matrices")
    return factors
