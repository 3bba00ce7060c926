"""The kinds of component that the core knows: a name, its interface, and one line on it."""

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    Arguments:
        name: `path`, `network`, ...
        interface: `module:Class` of the abstract interface, imported on first use.
        summary: One line for `flowkit list`.
        checks: `module:NAME` of the checks that `flowkit.testing` holds its components to; none where empty.
    """

    name: str
    interface: str
    summary: str
    checks: str = ""


def _kind(name: str, interface: str, summary: str) -> tuple[str, Kind]:
    return name, Kind(name, f"flowkit.interfaces.{interface}", summary, f"flowkit.testing.{name}:CHECKS")


KINDS: dict[str, Kind] = dict(
    [
        _kind("data", "data:DataSource", "where data points z come from"),
        _kind("source", "source:Source", "p_init, the distribution at t = 0"),
        _kind("coupling", "coupling:Coupling", "which x0 goes with which z"),
        _kind("path", "path:Path", "p_t(x|z), from noise at t = 0 to data at t = 1"),
        _kind("schedule", "schedule:Schedule", "alpha_t and beta_t of a Gaussian path"),
        _kind("network", "network:Network", "the neural network"),
        _kind("head", "head:Head", "what the network's output means"),
        _kind("loss", "loss:Loss", "what training regresses"),
        _kind("field", "predictor:Predictor", "the marginal fields of a path: exact ones, or those of another model"),
        _kind("weighting", "loss:Weighting", "how a loss weighs the times t"),
        _kind("time", "time:TimeSampler", "how training draws t"),
        _kind("grid", "time:TimeGrid", "the times at which sampling steps"),
        _kind("integrator", "integrator:Integrator", "solves the sampling ODE or SDE"),
        _kind("diffusion", "diffusion:DiffusionCoefficient", "sigma_t of the sampling SDE"),
        _kind("guidance", "guidance:Guidance", "steers sampling by the condition"),
        _kind("metric", "metric:Metric", "compares samples with data"),
        _kind("callback", "callback:Callback", "watches training"),
    ]
)
