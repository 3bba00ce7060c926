"""Declares the losses, weightings and time distributions."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

LOSSES = {
    "cfm": ("cfm:ConditionalFlowMatching", "regress the conditional velocity u_t(x|z)"),
    "csm": ("csm:ConditionalScoreMatching", "regress the conditional score (denoising score matching)"),
    "joint": ("joint:JointMatching", "conditional flow matching plus conditional score matching, for the joint head"),
    "noise": ("prediction:NoisePrediction", "regress the noise x0 (DDPM)"),
    "data": ("prediction:DataPrediction", "regress the data point z"),
    "edm": ("prediction:EDMLoss", "regress the data point with the noise levels and weights of EDM"),
    "fm": ("cfm:FlowMatching", "regress a marginal velocity that is known exactly"),
    "sm": ("csm:ScoreMatching", "regress a marginal score that is known exactly"),
}

WEIGHTINGS = {
    "unit": ("UnitWeighting", "1 at every time"),
    "noise_variance": ("NoiseVarianceWeighting", "beta_t^2, or on a two-sided path gamma_t^2: predicts the noise"),
    "velocity": ("VelocityWeighting", "1 on the error of the velocity, whatever is regressed"),
    "snr": ("SNRWeighting", "alpha_t^2 / beta_t^2 on the error of the data"),
    "min_snr": ("MinSNRWeighting", "the signal-to-noise ratio up to gamma, on the error of the data"),
    "likelihood": ("LikelihoodWeighting", "g_t^2 on the error of the score: maximum likelihood"),
    "edm": ("EDMWeighting", "1/sigma^2 + 1/sigma_data^2 on the error of the data"),
    "sigmoid": ("SigmoidWeighting", "the likelihood, times sigmoid(bias - log-SNR)"),
}

TIMES = {
    "uniform": ("times:UniformTime", "t uniform on (0, 1)"),
    "low_discrepancy": ("times:LowDiscrepancyTime", "uniform, and evenly spread over every batch"),
    "logit_normal": ("times:LogitNormalTime", "more times in the middle (SD3)"),
    "log_normal": ("times:LogNormalTime", "log-normal noise levels of any schedule (EDM)"),
    "mode": ("times:ModeTime", "more times in the middle, or at the ends (SD3)"),
    "cosmap": ("times:CosMapTime", "the noise levels of the cosine schedule on the straight path (SD3)"),
    "importance": ("importance:ImportanceTime", "more times where the loss is large, its mean unchanged"),
}

EXACT = {
    "name": "gaussian_mixture",
    "path": "gaussian",
    "means": [[k, 0] for k in range(8)],
    "covariances": [0.5] * 8,
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (target, summary) in LOSSES.items():
        examples = ({"exact": EXACT},) if name in ("fm", "sm") else ()
        yield Component("loss", name, f"flowkit_losses.{target}", summary, _default(name, "cfm"), examples=examples)
    for name, (cls, summary) in WEIGHTINGS.items():
        yield Component("weighting", name, f"flowkit_losses.weightings:{cls}", summary, _default(name, "unit"))
    for name, (target, summary) in TIMES.items():
        yield Component("time", name, f"flowkit_losses.{target}", summary, _default(name, "uniform"))


def _default(name: str, chosen: str) -> tuple[str, ...]:
    return ("any",) if name == chosen else ()
