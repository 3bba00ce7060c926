"""The schedules of the Gaussian plugin, by the names that `oracles.SCHEDULES` has for the same formulas."""

from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import (
    DDPM,
    EDM,
    CondOT,
    Cosine,
    LogitLinear,
    Polynomial,
    Shifted,
    SubVariancePreserving,
    Target,
    VarianceExploding,
    VariancePreserving,
)

SCHEDULE = {
    "condot": CondOT(),
    "cosine": Cosine(),
    "vp": VariancePreserving(),
    "sub_vp": SubVariancePreserving(),
    "ddpm": DDPM(),
    "polynomial": Polynomial(),
    "target": Target(0.01),
    "logit_linear": LogitLinear(),
    "ve": VarianceExploding(),
    "edm": EDM(),
    "shifted": Shifted(),
}
PATH = {name: GaussianPath(schedule) for name, schedule in SCHEDULE.items()}
