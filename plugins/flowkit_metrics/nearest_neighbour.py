"""Whether samples are copies of data points."""

import torch

from flowkit import Batch, Metric

__all__ = ["NearestNeighbour"]

CHUNK = 512


class NearestNeighbour(Metric):
    r"""The median over generated samples x of the distance to the nearest real one, $\min_j |x - z_j|$.

    Read it beside the figure for two real draws. Well above it, samples lie off the data; well below it, with
    the training data as the real ones, they are copies of these. NaN where a sample is not finite.
    """

    label = "nearest-neighbour distance"

    def measure(self, generated: Batch, real: Batch) -> float:
        """The median distance; conditions are left aside."""
        x, z = (batch.z.detach().cpu().flatten(1).double() for batch in (generated, real))
        # By differences, not by the faster matrix product: that would not give 0 for a copy.
        parts = [torch.cdist(part, z, compute_mode="donot_use_mm_for_euclid_dist").amin(1) for part in x.split(CHUNK)]
        return float(torch.cat(parts).quantile(0.5))
