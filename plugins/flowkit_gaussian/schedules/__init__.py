r"""Schedules of the path $N(\alpha_t z, \beta_t^2 I)$, with closed-form derivatives: one family a module."""

from .callables import CallableSchedule
from .exploding import EDM, VarianceExploding
from .preserving import DDPM, Cosine, LogitLinear, SubVariancePreserving, VariancePreserving
from .shifted import Shifted
from .straight import CondOT, Polynomial, Target

__all__ = [
    "DDPM",
    "EDM",
    "CallableSchedule",
    "CondOT",
    "Cosine",
    "LogitLinear",
    "Polynomial",
    "Shifted",
    "SubVariancePreserving",
    "Target",
    "VarianceExploding",
    "VariancePreserving",
]
