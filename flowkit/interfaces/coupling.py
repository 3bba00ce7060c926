"""The joint distribution of the two ends of a path."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..conditions import Condition
from .data import DataSpec

__all__ = ["Coupling"]


class Coupling(ABC):
    """Which x0 is paired with which z within a training batch.

    A coupling keeps both marginals: every x0 and every z, with its y, is used once, or once on average over the draws
    of the coupling.

    References:
        Tong et al. 2024, Improving and generalizing flow-based generative models with minibatch optimal
        transport, section 3. https://arxiv.org/abs/2302.00482
    """

    independent: ClassVar[bool] = False
    """Whether x0 says nothing of z. The score of a path that knows p_t(x|z) alone rests on it."""

    keeps_marginals: ClassVar[bool] = True
    """Whether it keeps both marginals; one that leaves out outliers, say, does not."""

    ahead: bool = False
    """Whether pairing takes about as long as a step of a small network, so that training should prepare pairs ahead, in
    a thread of its own while steps run. `pair` then must not touch what the steps touch; no result depends on it."""

    together: bool = False
    """Whether it draws nothing, so that training may hand it several small batches at once: see `pair_each`."""

    @abstractmethod
    def pair(
        self, x0: Tensor, z: Tensor, y: Condition = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Condition]:
        """Reorder a batch into pairs.

        Arguments:
            x0: Draws of p_init, shape (batch, *event).
            z: Data points, shape (batch, *event).
            y: Their conditions, which stay with their z.
            generator: The source of any randomness.
        """

    def pair_each(self, batches: Sequence[tuple[Tensor, Tensor, Condition]]) -> list[tuple[Tensor, Tensor, Condition]]:
        """`pair` of several batches, without randomness.

        A thread that prepares them one by one takes the interpreter from the steps once for each; one that has them all
        in one call of compiled code does so seldom.

        Arguments:
            batches: x0, z and y of each, of one shape.
        """
        return [self.pair(x0, z, y) for x0, z, y in batches]

    def problems(self, spec: DataSpec) -> list[str]:
        """Why this does not go with such data. Independent x0 and z there are none where data come in pairs."""
        if self.independent and spec.paired:
            return [
                f"the data come in pairs (x0, z), which {type(self).__name__} takes for independent: use the coupling "
                f"'given'"
            ]
        return []
