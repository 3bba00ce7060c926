"""Declares the SDE integrators and diffusion coefficients."""

from collections.abc import Iterator

from flowkit.plugins import Component, hookimpl

INTEGRATORS = {
    "euler_maruyama": ("EulerMaruyama", "SDE: strong order 1, one evaluation a step"),
    "stochastic_heun": ("StochasticHeun", "SDE: weak order 2, two evaluations a step"),
    "srk": ("SRK", "SDE: strong order 3/2, two evaluations a step"),
    "ddpm_ancestral": ("DDPMAncestral", "draws from q(x_s | x_t, E[z|x_t]); DDIM with eta < 1"),
    "dpmpp_sde": ("DPMppSDE", "SDE-DPM-Solver++(2M): exact in the log-SNR but for E[z|x_t]"),
    "edm_churn": ("EDMChurn", "Karras et al.: noise back in, then Heun in beta / alpha"),
    "predictor_corrector": ("PredictorCorrector", "a step of the ODE, then Langevin dynamics"),
}
COEFFICIENTS = {
    "constant": ("ConstantDiffusion", "sigma_t = value"),
    "beta": ("BetaDiffusion", "sigma_t = scale beta_t, which dies out with the noise of the path"),
    "sbdm": ("SBDMDiffusion", "the time reversal of the noising of data"),
    "linear": ("LinearDiffusion", "sigma_t^2 = scale^2 (1 - t)"),
    "decreasing": ("DecreasingDiffusion", "sigma_t = scale (1 + cos(pi t)) / 2"),
    "increasing_decreasing": ("IncreasingDecreasingDiffusion", "sigma_t = scale sin(pi t)"),
}


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The components of this plugin."""
    for name, (cls, summary) in INTEGRATORS.items():
        yield Component(kind="integrator", name=name, target=f"flowkit_sde.{name}:{cls}", summary=summary)
    for name, (cls, summary) in COEFFICIENTS.items():
        yield Component(
            kind="diffusion",
            name=name,
            target=f"flowkit_sde.coefficients:{cls}",
            summary=summary,
            default_for=("any",) if name == "beta" else (),
        )
