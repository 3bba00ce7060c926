"""The exact fields of a finite set of points."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from flowkit import Condition, Path, Time, UnsupportedError, holds_anywhere

from .field import STOP_SHORT, Coefficients, ExactField, Posterior, labels_of

__all__ = ["FiniteDataField"]

PART = 2**24
"""How many numbers are held at once: squared distances, and coordinates of points."""


class _Sums(NamedTuple):
    """Sums over the points of w_i = exp(-(|x - alpha z_i|^2 - least) / 2 beta^2).

    Arguments:
        least: The least squared distance |x - alpha z_i|^2, shape (batch, 1).
        weight: The sum of the w_i, shape (batch, 1).
        moment: The sum of the w_i z_i, shape (batch, d).
    """

    least: Tensor
    weight: Tensor
    moment: Tensor


class FiniteDataField(ExactField):
    r"""The marginal fields where the data are a finite set of points, $\frac1n \sum_i \delta_{z_i}$.

    The posterior is a softmax over the points, and everything follows from its mean:

    $$p(z_i|x) = \operatorname{softmax}_i\left(-\frac{|x - \alpha_t z_i|^2}{2\beta_t^2}\right), \qquad
    D = \sum_i p(z_i|x)\, z_i, \qquad N = \frac{x - \alpha_t D}{\beta_t}.$$

    Where alpha = 0 all points are equally likely, and D is their mean. Where beta = 0 the limit of D is the point
    nearest to x (the mean of several that are equally near), which is x itself if x is one of the points. N has no
    limit there: every point is reached from all directions. So velocity, score, noise and v are refused at t = 1, and
    so is `log_prob`, for points have no density.

    The points are gone through in parts, with a running softmax, so memory does not grow with their number.

    Arguments:
        path: A Gaussian path.
        points: The z_i, shape (n, *event).
        labels: Their labels 0, 1, ..., shape (n,), or None. A label y leaves the points that have it.

    References:
        Karras et al. 2022, Elucidating the Design Space, equation 57. https://arxiv.org/abs/2206.00364

    Examples:
        >>> field = FiniteDataField(path, points)
        >>> x = fk.sample(field, torch.randn(1000, 2), integrator=fk.create("integrator", "midpoint"))
    """

    points: Tensor
    labels: Tensor | None
    order: Tensor
    first: Tensor
    count: Tensor

    def __init__(self, path: Path, points: Tensor, labels: Tensor | None = None) -> None:
        super().__init__(path)
        if points.ndim < 2 or not len(points):
            raise ValueError(f"points must have shape (n, *event) with n at least 1; got {tuple(points.shape)}")
        if labels is not None and (labels.shape != (len(points),) or labels.is_floating_point() or labels.min() < 0):
            raise ValueError(f"labels must be {len(points)} whole numbers 0, 1, ..., one for each point; got {labels}")
        self.register_buffer("points", points)
        self.register_buffer("labels", labels)
        # The points of label k are order[first[k] : first[k] + count[k]]; the last entries, of -1, are for all points.
        everything = torch.arange(len(points), device=points.device)
        sizes = everything[:0] if labels is None else labels.bincount()
        self.register_buffer("order", everything if labels is None else labels.argsort())
        self.register_buffer("first", torch.cat([sizes.cumsum(0) - sizes, everything[:1]]))
        self.register_buffer("count", torch.cat([sizes, everything[-1:] + 1]))

    def posterior(self, x: Tensor, at: Coefficients, y: Condition) -> Posterior:
        """The mean of the softmax; no noise and no score where beta is 0."""
        sums = self._sums(x, at, self._wanted(y))
        data = sums.moment / sums.weight
        if holds_anywhere(at.beta == 0):
            return Posterior(data, None, None)
        noise = (x - at.alpha * data) / at.beta
        return Posterior(data, noise, -noise / at.beta)

    def log_prob(self, x: Tensor, t: Time = 1.0, y: Condition = None) -> Tensor:
        r"""$\log \frac1n \sum_i N(x;\, \alpha_t z_i, \beta_t^2 I)$ in nats, shape (batch,).

        Raises:
            UnsupportedError: Beta is 0.
        """
        at, labels = self.coefficients(t, x), self._wanted(y)
        if holds_anywhere(at.beta == 0):
            raise UnsupportedError(f"a finite set of points has no density at this time, where beta is 0: {STOP_SHORT}")
        sums = self._sums(x.flatten(1).double(), at, labels)
        count = self.count[-1:] if labels is None else self.count[labels]
        log_sum = sums.weight.log() - sums.least / at.beta / at.beta / 2
        log_norm = x[0].numel() * (at.beta.log() + math.log(2 * math.pi) / 2) + count.double().log()[:, None]
        return (log_sum - log_norm).squeeze(1).to(x.dtype)

    def sample(self, n: int, t: float = 1.0, y: Condition = None, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent draws of p_t: a point, drawn with replacement, and noise. Shape (n, *event)."""
        labels = self._wanted(y)
        uniform = torch.rand(n, generator=generator, dtype=torch.float64, device=self.points.device)
        count, first = (table[-1:] if labels is None else table[labels] for table in (self.count, self.first))
        z = self.points[self.order[first + (uniform * count).long()]]
        x0 = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
        return self.path.sample(x0, z, torch.full((n,), t, dtype=z.dtype, device=z.device))

    def _wanted(self, y: Condition) -> Tensor | None:
        labels = labels_of(y, len(self.count) - 1, "this finite set")
        if labels is not None and holds_anywhere(self.count[labels] == 0):
            missing = labels[self.count[labels] == 0].unique().tolist()
            raise UnsupportedError(f"y asks for labels that no point has: {missing}")
        return labels

    def _sums(self, x: Tensor, at: Coefficients, labels: Tensor | None) -> _Sums:
        """The running softmax: whenever a nearer point is found, what was summed before fades."""
        least = x.new_full((len(x), 1), math.inf)
        weight, moment = torch.zeros_like(least), torch.zeros_like(x)
        for points, allowed in self._parts(x, labels):
            squares = x.square().sum(1, keepdim=True) - 2 * at.alpha * (x @ points.T)
            squares = squares + at.alpha**2 * points.square().sum(1)
            nearest = torch.where(allowed, squares, math.inf).amin(1, keepdim=True).minimum(least).detach()
            # Where nothing has been summed yet, least may be infinite, and so may be nearest.
            fade = _weight(torch.where(least.isinf(), 0.0, least - nearest), at.beta)
            weights = torch.where(allowed, _weight((squares - nearest).clamp(min=0), at.beta), 0.0)
            weight = fade * weight + weights.sum(1, keepdim=True)
            moment = fade * moment + weights @ points
            least = nearest
        return _Sums(least, weight, moment)

    def _parts(self, x: Tensor, labels: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The points part by part, shape (part, d), and for which x each counts, shape (batch, part) or (1, 1)."""
        size = max(1, PART // max(x.shape))
        everything = torch.ones(1, 1, dtype=torch.bool, device=x.device)
        for start in range(0, len(self.points), size):
            part = slice(start, start + size)
            points = self.points[part].flatten(1).to(x.dtype)
            if labels is None or self.labels is None:
                yield points, everything
            else:
                yield points, (labels[:, None] < 0) | (labels[:, None] == self.labels[part])


def _weight(excess: Tensor, beta: Tensor) -> Tensor:
    """exp(-excess / 2 beta^2) for an excess of at least 0; where beta is 0, its limit: 1 for no excess, else 0."""
    zero = beta == 0
    beta = torch.where(zero, 1.0, beta)
    return torch.where(zero, (excess == 0).to(excess), torch.exp(-excess / beta / beta / 2))
