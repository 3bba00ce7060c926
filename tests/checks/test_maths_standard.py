"""Standard components do what the mathematics of their kind asks with other settings than the default ones too.

With the default settings, `test_standard_components.py` checks every one of them.
"""

import pytest
from flowkit_couplings.conditional import ConditionalOptimalCoupling
from flowkit_couplings.sinkhorn import SinkhornCoupling, UnbalancedCoupling
from flowkit_exponential.adams_bashforth import ExponentialAdamsBashforth
from flowkit_exponential.unipc import UniPC
from flowkit_gaussian.path import GaussianPath
from flowkit_gaussian.schedules import (
    EDM,
    CallableSchedule,
    LogitLinear,
    Polynomial,
    Shifted,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from flowkit_heads.edm import EDMHead
from flowkit_interpolants.paths import BrownianBridge, EncodingDecoding, Linear, Trigonometric
from flowkit_losses.cfm import ConditionalFlowMatching, FlowMatching
from flowkit_losses.csm import ConditionalScoreMatching, ScoreMatching
from flowkit_losses.importance import ImportanceTime
from flowkit_losses.joint import JointMatching
from flowkit_losses.prediction import DataPrediction, EDMLoss, NoisePrediction
from flowkit_losses.times import LogitNormalTime, LogNormalTime, LowDiscrepancyTime, ModeTime, UniformTime
from flowkit_losses.weightings import EDMWeighting, MinSNRWeighting, SigmoidWeighting, SNRWeighting, VelocityWeighting
from flowkit_ode.adams_bashforth import AdamsBashforth
from flowkit_ode.dopri5 import Dopri5
from flowkit_ode.explicit import ExplicitGrid
from flowkit_ode.grids import ShiftedGrid, UniformGrid
from flowkit_ode.noise_levels import KarrasGrid, LogSNRGrid
from flowkit_sde.coefficients import BetaDiffusion, CallableDiffusion, ConstantDiffusion, SBDMDiffusion
from flowkit_sde.ddpm_ancestral import DDPMAncestral
from flowkit_sde.edm_churn import EDMChurn
from flowkit_sde.euler_maruyama import EulerMaruyama
from flowkit_sde.predictor_corrector import PredictorCorrector

from flowkit.plugins.manager import installed_plugins
from flowkit.plugins.registry import resolve_target
from flowkit.testing import Subject
from flowkit.testing.reference import NormalField
from flowkit.testing.run import run_check

REGISTRY = installed_plugins().registry
SCHEDULES = {entry.component.name: REGISTRY.load(entry)() for entry in REGISTRY.of_kind("schedule")}
WITH_SETTINGS = {
    "schedule": {
        "vp of constant rate": VariancePreserving(8.0, 8.0),
        "sub_vp 0.3 to 15": SubVariancePreserving(0.3, 15.0),
        "polynomial 3.5": Polynomial(3.5),
        "logit_linear -8 to 13.3": LogitLinear(-8.0, 13.3),
        "ve 0.01 to 30": VarianceExploding(0.01, 30.0),
        "edm of rho 1": EDM(0.01, 25.0, 1.0),
        "shifted vp": Shifted(VariancePreserving(), 0.4),
        "callables": CallableSchedule(lambda t: t.sqrt(), lambda t: (1 - t).sqrt()),
    },
    "path": {
        **{f"gaussian, {name}": GaussianPath(schedule) for name, schedule in SCHEDULES.items()},
        **{f"linear, {gamma}": Linear(gamma) for gamma in ("brownian", "quadratic", "sine_squared")},
        "linear, constant": Linear("constant", 0.1),
        "trigonometric, quadratic": Trigonometric("quadratic", 0.5),
        "encoding_decoding, brownian": EncodingDecoding("brownian"),
        "brownian_bridge 0.3": BrownianBridge(0.3),
    },
    "coupling": {
        "sinkhorn, large epsilon": SinkhornCoupling(10.0),
        "unbalanced, large penalty": UnbalancedCoupling(1.0, 1000.0),
        "conditional_ot, many candidates": ConditionalOptimalCoupling(0.5),
    },
    "head": {"edm, sigma_data 2": EDMHead(2.0)},
    "loss": {
        "cfm, importance": ConditionalFlowMatching(ImportanceTime(20)),
        "cfm, huber": ConditionalFlowMatching(distance="huber"),
        "csm, pseudo_huber": ConditionalScoreMatching(distance="pseudo_huber"),
        "csm, logit_normal": ConditionalScoreMatching(LogitNormalTime()),
        "data, velocity": DataPrediction(weighting=VelocityWeighting()),
        "data, min_snr": DataPrediction(weighting=MinSNRWeighting()),
        "noise, low_discrepancy": NoisePrediction(LowDiscrepancyTime()),
        "noise, sigmoid": NoisePrediction(weighting=SigmoidWeighting()),
        "edm, sigma_data 2": EDMLoss(weighting=EDMWeighting(2.0)),
        "joint, less of the score": JointMatching(score_weight=0.1),
        "fm, of normal data": FlowMatching(NormalField()),
        "sm, of normal data": ScoreMatching(NormalField()),
    },
    "weighting": {"min_snr 1": MinSNRWeighting(1.0), "sigmoid -2": SigmoidWeighting(-2.0), "snr": SNRWeighting()},
    "time": {
        "uniform, inside": UniformTime(0.2, 0.7),
        "logit_normal, wide": LogitNormalTime(1.0, 10.0),
        "log_normal, wide": LogNormalTime(0.0, 10.0),
        "mode, ends": ModeTime(-1.0),
        "importance, few bins": ImportanceTime(5, 0.9, 0.3),
    },
    "grid": {
        "uniform, inside": UniformGrid(0.1, 0.9),
        "shifted to the data": ShiftedGrid(0.2),
        "karras, inside": KarrasGrid(start=0.05, end=0.95),
        "log_snr, wide": LogSNRGrid(1e-4, 1e4),
        "explicit, uneven": ExplicitGrid([0.0, 0.2, 0.7, 1.0]),
    },
    "diffusion": {
        "none": ConstantDiffusion(0.0),
        "beta, strong": BetaDiffusion(3.0),
        "sbdm, higher": SBDMDiffusion(2.0, 100.0),
        "a function": CallableDiffusion(lambda t: 1 - t),
    },
    "integrator": {
        "adams_bashforth 3": AdamsBashforth(3),
        "adams_bashforth 4": AdamsBashforth(4),
        "dopri5, tight": Dopri5(1e-8, 1e-8),
        "exponential_ab 3": ExponentialAdamsBashforth(3),
        "unipc 3": UniPC(3),
        "euler_maruyama, mean": EulerMaruyama("mean"),
        "ddpm_ancestral, large": DDPMAncestral(variance="large"),
        "ddpm_ancestral, half": DDPMAncestral(0.5),
        "edm_churn, little": EDMChurn(5.0),
        "predictor_corrector, two": PredictorCorrector(0.05, 2),
    },
}
CASES = [
    pytest.param(kind, component, id=f"{kind}-{name}")
    for kind, components in WITH_SETTINGS.items()
    for name, component in components.items()
]


@pytest.mark.parametrize(("kind", "component"), CASES)
def test_a_standard_component_with_other_settings_passes_the_checks_of_its_kind(kind, component):
    outcomes = [
        run_check(check, Subject(kind, component, REGISTRY), kind)
        for check in resolve_target(REGISTRY.kinds[kind].checks)
    ]
    failed = [str(outcome) for outcome in outcomes if outcome.status == "failed"]
    assert not failed, "\n".join(failed)
    assert any(outcome.status == "passed" for outcome in outcomes)
