"""sigma_t of the sampling SDE."""

from abc import ABC, abstractmethod

from .path import Path

__all__ = ["DiffusionCoefficient"]


class DiffusionCoefficient(ABC):
    """How much noise the sampling SDE adds; any sigma_t >= 0 keeps the marginals p_t.

    References:
        Albergo et al. 2023, Stochastic Interpolants, corollaries 2.10 and 2.18 (sigma_t^2 is 2 epsilon).
        https://arxiv.org/abs/2303.08797
    """

    @abstractmethod
    def sigma(self, t: float, path: Path) -> float:
        """sigma_t >= 0, finite on [0, 1)."""

    def problems(self, path: Path) -> list[str]:
        """Why this coefficient does not go with that path; asked when a pipeline is built."""
        del path
        return []
