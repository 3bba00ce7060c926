"""Kinds of component, each with its interface: those that the core knows, and those that plugins add."""

from collections.abc import Iterable
from dataclasses import dataclass

from .component import check_declaration, check_target

__all__ = ["KINDS", "DeclaredKind", "Kind", "contested_kinds"]


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    A constructor parameter that is annotated with the interface is a slot: it takes a component of this kind.

    Arguments:
        name: `path`, `network`, ...
        interface: `module:Class` of the abstract interface, imported on first use.
        summary: One line for `flowkit show`.
        checks: `module:NAME` of the conformance checks that every component of the kind should pass, if there are any.
    """

    name: str
    interface: str
    summary: str
    checks: str = ""

    def __post_init__(self) -> None:
        check_declaration("kind", self.name, self.interface, "interface")
        if self.checks:
            check_target("kind", self.name, self.checks, "checks")


@dataclass(frozen=True)
class DeclaredKind:
    """A kind and the plugin that declares it.

    Arguments:
        kind: What the plugin declared.
        distribution: The installed distribution.
        version: The version of that distribution.
    """

    kind: Kind
    distribution: str
    version: str


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


def contested_kinds(declared: Iterable[DeclaredKind]) -> dict[str, str]:
    """The kinds that plugins do not agree on, each with the reason why it cannot be used.

    Several plugins may declare the same kind. They agree where name and interface are the same.
    """
    reasons: dict[str, str] = {}
    first: dict[str, DeclaredKind] = {}
    for claim in declared:
        for key in (claim.kind.name, claim.kind.interface):
            other = first.setdefault(key, claim)
            if (other.kind.name, other.kind.interface) != (claim.kind.name, claim.kind.interface):
                text = f"{_claim(other)} and {_claim(claim)} exclude each other: {_way_out(other, claim)}"
                reasons.setdefault(other.kind.name, text)
                reasons.setdefault(claim.kind.name, text)
    return reasons


def _claim(claim: DeclaredKind) -> str:
    return f"kind {claim.kind.name!r} of {claim.distribution} {claim.version} (interface {claim.kind.interface})"


def _way_out(one: DeclaredKind, two: DeclaredKind) -> str:
    return f"uninstall one, or set FLOWKIT_DISABLE_PLUGINS to {one.distribution} or {two.distribution}"
