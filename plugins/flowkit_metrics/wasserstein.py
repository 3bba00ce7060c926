"""The 2-Wasserstein distance."""

import math
import warnings

from torch import Tensor

from flowkit import Batch, FlowkitWarning, Metric

__all__ = ["Wasserstein"]

MAX_PIVOTS = 10**9
_ALONE = 0.999
"""More of the variance than this in one feature, and a distance tells nothing of the others."""


class Wasserstein(Metric):
    r"""The exact 2-Wasserstein distance between two samples, each point of a sample weighing the same.

    $$W_2^2 = \min_\pi \sum_{ij} \pi_{ij} |x_i - z_j|^2, \qquad \sum_j \pi_{ij} = 1/n, \; \sum_i \pi_{ij} = 1/m.$$

    Two samples of one size are matched one to one by shortest augmenting paths (Jonker and Volgenant), 1.7 times as
    fast there as the network simplex of POT, which serves the others. Time grows as n^3 and memory
    as n^2: 0.8 s for 2048 images of 64 pixels. NaN where a sample is not finite.

    Distances are in the units of the data: of features with very different ranges, the widest decides alone. A warning
    says so, and `standardize` has all of them count.

    Arguments:
        standardize: Divide every number by its deviation in the real data first.

    References:
        Peyre and Cuturi 2019, Computational Optimal Transport, sections 2.3 and 3.5.
        https://arxiv.org/abs/1803.00567
    """

    def __init__(self, standardize: bool = False) -> None:
        self.standardize = standardize
        self.label = "2-Wasserstein, standardised" if standardize else "2-Wasserstein"

    def measure(self, generated: Batch, real: Batch) -> float:
        """W_2 of the two samples, conditions left aside."""
        from scipy.optimize import linear_sum_assignment  # here, for training that measures at its end starts sooner
        from scipy.spatial.distance import cdist

        x, z = (batch.z.detach().cpu().flatten(1).double() for batch in (generated, real))
        if not (x.isfinite().all() and z.isfinite().all()):
            return math.nan
        if self.standardize:
            deviations = z.std(0, correction=0)
            x, z = (points / deviations.where(deviations > 0, 1) for points in (x, z))
        elif real.z.ndim == 2:
            _tell_if_one_decides(z)
        if len(x) == len(z):
            _, matched = linear_sum_assignment(cdist(_moved_onto(x, z).numpy(), z.numpy(), "sqeuclidean"))
            return math.sqrt((x - z[matched]).square().sum(1).mean())
        import ot  # seconds to import, and most comparisons are of equal sizes

        cost = cdist(x.numpy(), z.numpy(), "sqeuclidean")
        return math.sqrt(max(float(ot.emd2([], [], cost, numItermax=MAX_PIVOTS)), 0.0))


def _tell_if_one_decides(z: Tensor) -> None:
    variances = z.var(0, correction=0)
    if (variances > 0).sum() > 1 and variances.max() > _ALONE * variances.sum():
        warnings.warn(
            "the metric wasserstein sees little but the widest of the features: evaluation.metrics="
            "[{name: wasserstein, standardize: true}] has all of them count",
            FlowkitWarning,
            stacklevel=3,
        )


def _moved_onto(x: Tensor, z: Tensor) -> Tensor:
    """The points x with the mean and the spread of z, which has the same optimal matching.

    sum_i |a x_i + b - z_i|^2 is -2 a sum_i <x_i, z_i> but for terms that all matchings share. SciPy finds it
    in a tenth of the time where x lies elsewhere, and in a half or a quarter where x has collapsed.
    """
    offsets, spread = x - x.mean(0), (z - z.mean(0)).norm()
    return offsets * (spread / offsets.norm() if offsets.norm() > 0 and spread > 0 else 1) + z.mean(0)
