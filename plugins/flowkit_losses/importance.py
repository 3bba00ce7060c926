"""Times drawn where the loss is large, without changing its mean."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from flowkit import Path, TimeSampler

from .times import inside

__all__ = ["ImportanceTime"]


class ImportanceTime(TimeSampler):
    r"""$p(t) \propto \sqrt{E[L_t^2]}$ from the losses seen so far, each loss divided by p(t): of all distributions
    the one under which the mean of the loss, still that of uniform t, varies least.

    The second moment is a decaying mean in each of equal bins of (0, 1). Until every bin has been seen, t is uniform.

    Arguments:
        bins: How many.
        decay: By how much what was seen counts less after every batch.
        uniform: The share of times that stays uniform, so that no 1/p(t) exceeds 1/uniform.

    References:
        Nichol and Dhariwal 2021, Improved DDPM, section 3.3 (with the last ten losses of each of their discrete times).
        https://arxiv.org/abs/2102.09672
    """

    def __init__(
        self,
        bins: Annotated[int, Field(gt=0)] = 100,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        uniform: Annotated[float, Field(gt=0, le=1)] = 0.01,
    ) -> None:
        self.bins, self.decay, self.uniform = bins, decay, uniform
        self._squares, self._counts = torch.zeros(bins), torch.zeros(bins)

    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        path: Path | None = None,
    ) -> Tensor:
        """Draws from p(t), shape (n,), by its inverse distribution function, which is linear in each bin."""
        p = self._probabilities(device)
        upto = p.cumsum(0)
        u = upto[-1] * torch.rand(n, generator=generator, device=device, dtype=p.dtype)
        index = torch.searchsorted(upto, u, right=True).clamp(max=self.bins - 1)
        within = (1 - (upto[index] - u) / p[index]).clamp(0, 1)
        return inside(((index + within) / self.bins).to(dtype))

    def density(self, t: Tensor) -> Tensor:
        """p(t), shape (batch,)."""
        return self.bins * self._probabilities(t.device)[self._bin(t)].to(t.dtype)

    def corrected(self, t: Tensor, loss: Tensor) -> Tensor:
        """The losses over p(t), shape (batch,); they change what is drawn next."""
        counted = loss / self.density(t)
        self._observe(t, loss.detach().float())
        return counted

    def state(self) -> dict[str, Tensor]:
        """Sums of squares, and how many, in each bin."""
        return {"squares": self._squares, "counts": self._counts}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to where `state` was taken."""
        self._squares, self._counts = state["squares"], state["counts"]

    def _observe(self, t: Tensor, loss: Tensor) -> None:
        # A product, as sums by index come out otherwise every time on a GPU, and a resumed run would be another one.
        of_bin = (self._bin(t) == torch.arange(self.bins, device=t.device)[:, None]).float()
        self._squares = self.decay * self._squares.to(t.device) + of_bin @ loss.square()
        self._counts = self.decay * self._counts.to(t.device) + of_bin.sum(1)

    def _bin(self, t: Tensor) -> Tensor:
        return (t * self.bins).long().clamp(max=self.bins - 1)

    def _probabilities(self, device: torch.device | str) -> Tensor:
        """Of each bin; shape (bins,)."""
        squares, counts = self._squares.to(device), self._counts.to(device)
        spread = (squares / counts).sqrt()  # NaN in a bin that was never seen
        learned = (1 - self.uniform) * spread / spread.sum() + self.uniform / self.bins
        return torch.where(learned.isfinite().all(), learned, 1 / self.bins)
