"""The exact fields of a mixture of Gaussians."""

import math
from typing import Annotated, Any

import torch
from pydantic import PlainValidator
from torch import Tensor

from flowkit import Condition, Path, Time

from .field import Coefficients, ExactField, Posterior, labels_of

__all__ = ["GaussianMixtureField"]


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _lists(value: Any) -> Any:
    """A tensor, or the nested lists that a file holds, as nested lists."""
    try:
        return None if value is None else _tensor(value).tolist()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"takes numbers in nested lists of equal length, or a tensor ({error})") from None


Numbers = Annotated[Tensor | list[Any], PlainValidator(_lists)]
MaybeNumbers = Annotated[Tensor | list[Any] | None, PlainValidator(_lists)]


class GaussianMixtureField(ExactField):
    r"""The marginal fields where the data are a mixture of Gaussians, $\sum_k w_k\, N(m_k, \Sigma_k)$.

    Then p_t is one too. With $C_k = \alpha_t^2 \Sigma_k + \beta_t^2 I$ and $g_k = C_k^{-1} (x - \alpha_t m_k)$,

    $$p_t(x) = \sum_k w_k\, N(x;\, \alpha_t m_k, C_k), \qquad p(k|x) = w_k\, N(x;\, \alpha_t m_k, C_k) / p_t(x),$$

    $$D = \sum_k p(k|x) (m_k + \alpha_t \Sigma_k g_k), \qquad N = \beta_t \sum_k p(k|x)\, g_k, \qquad
    s_t(x) = -\sum_k p(k|x)\, g_k.$$

    Nothing is singular at the ends: the score exists at t = 1 too. Only the velocity is refused there if the schedule's
    beta' is infinite. A label y = k leaves the component k.

    Arguments:
        path: A Gaussian path.
        means: The m_k, shape (K, *event).
        covariances: The Sigma_k: variances of shape (K,), or of shape (K, *event) for the elements, or matrices of
            shape (K, d, d) with d the number of elements.
        weights: The w_k, shape (K,), up to a factor; equal by default.

    References:
        Bishop 2006, Pattern Recognition and Machine Learning, equations 2.113 to 2.117.

    Examples:
        >>> field = GaussianMixtureField(path, means=torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), covariances=torch.ones(2))
        >>> x = fk.sample(field, torch.randn(1000, 2), integrator=fk.create("integrator", "heun"))
    """

    means: Tensor
    covariances: Tensor
    weights: Tensor | None
    log_weights: Tensor
    variances: Tensor
    axes: Tensor | None

    def __init__(self, path: Path, means: Numbers, covariances: Numbers, weights: MaybeNumbers = None) -> None:
        super().__init__(path)
        means, covariances = _tensor(means), _tensor(covariances)
        weights = None if weights is None else _tensor(weights)
        if means.ndim < 2 or not len(means):
            raise ValueError(f"means must have shape (K, *event) with K at least 1; got {tuple(means.shape)}")
        shares = means.new_ones(len(means)) if weights is None else weights
        if shares.shape != means.shape[:1] or not (shares > 0).all():
            raise ValueError(f"weights must be {len(means)} positive numbers, one for each mean; got {shares.tolist()}")
        variances, axes = _principal(covariances, means)
        if not (variances > 0).all():
            raise ValueError(
                f"covariances must be positive definite, and component {int(variances.amin(1).argmin())} is not: the "
                f"least variance is {float(variances.min()):g} (for points without a width there is FiniteDataField)"
            )
        self.register_buffer("means", means)
        self.register_buffer("covariances", covariances)
        self.register_buffer("weights", weights)
        self.register_buffer("log_weights", shares.log().log_softmax(0))
        self.register_buffer("variances", variances)
        self.register_buffer("axes", axes)

    def posterior(self, x: Tensor, at: Coefficients, y: Condition) -> Posterior:
        """The posterior means of the components, weighted by p(k|x)."""
        log_joint, scaled = self._components(x, at, y)
        weights = log_joint.softmax(1)
        slope = self._mixed(weights, scaled)
        data = weights @ self.means.flatten(1) + at.alpha * self._mixed(weights, scaled * self.variances)
        return Posterior(data, at.beta * slope, -slope)

    def log_prob(self, x: Tensor, t: Time = 1.0, y: Condition = None) -> Tensor:
        """Log p_t(x), or log p_t(x|y) where y has a label, in nats, shape (batch,)."""
        log_joint, _ = self._components(x.flatten(1).double(), self.coefficients(t, x), y)
        return log_joint.logsumexp(1).to(x.dtype)

    def sample(self, n: int, t: float = 1.0, y: Condition = None, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent draws of p_t, float64 of shape (n, *event)."""
        which = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        labels = labels_of(y, len(self.means), "this mixture")
        if labels is not None:
            which = torch.where(labels < 0, which, labels)
        at = self.coefficients(t, self.means)
        deviations = (at.alpha**2 * self.variances + at.beta**2).sqrt()[which]
        noise = deviations * torch.randn(
            (n, self.means[0].numel()), generator=generator, dtype=torch.float64, device=self.means.device
        )
        if self.axes is not None:
            noise = torch.einsum("nij,nj->ni", self.axes[which], noise)
        return at.alpha * self.means[which] + noise.reshape(n, *self.means.shape[1:])

    def _components(self, x: Tensor, at: Coefficients, y: Condition) -> tuple[Tensor, Tensor]:
        """Log w_k N(x; alpha m_k, C_k), shape (batch, K), and g_k along the axes of Sigma_k, shape (batch, K, d)."""
        alpha, beta = at.alpha[..., None], at.beta[..., None]
        offset = x[:, None] - alpha * self.means.flatten(1)
        if self.axes is not None:
            offset = torch.einsum("kij,bki->bkj", self.axes, offset)
        variances = alpha**2 * self.variances + beta**2
        scaled = offset / variances
        log_normal = -0.5 * (offset * scaled + torch.log(2 * math.pi * variances)).sum(2)
        return self._log_weights(y) + log_normal, scaled

    def _log_weights(self, y: Condition) -> Tensor:
        """Log w_k, or 0 for the component that a label names and -inf for the others; shape (1 or batch, K)."""
        log_weights = self.log_weights[None]
        labels = labels_of(y, len(self.means), "this mixture")
        if labels is None:
            return log_weights
        named = labels[:, None] == torch.arange(len(self.means), device=labels.device)
        return torch.where(labels[:, None] < 0, log_weights, torch.where(named, 0.0, -math.inf))

    def _mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        """The weighted sum over k of vectors along the axes of Sigma_k, shape (batch, d)."""
        if self.axes is None:
            return torch.einsum("bk,bkj->bj", weights, values)
        return torch.einsum("bk,kij,bkj->bi", weights, self.axes, values)


def _principal(covariances: Tensor, means: Tensor) -> tuple[Tensor, Tensor | None]:
    """The variances along the principal axes, shape (K, d), and these axes as columns, (K, d, d), or None where they
    are those of the coordinates.
    """
    flat = means.flatten(1)
    if covariances.shape == means.shape[:1]:
        return covariances[:, None].expand_as(flat).clone(), None
    if covariances.shape == means.shape:
        return covariances.flatten(1), None
    if covariances.shape == (*flat.shape, flat.shape[1]):
        if not torch.allclose(covariances, covariances.mT):
            raise ValueError("covariances must be symmetric matrices")
        return torch.linalg.eigh(covariances)
    count, size = flat.shape
    raise ValueError(
        f"covariances must have shape ({count},), {tuple(means.shape)} or ({count}, {size}, {size}) for means of shape "
        f"{tuple(means.shape)}; got {tuple(covariances.shape)}"
    )
