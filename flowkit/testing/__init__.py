"""Conformance checks: whether a component does what its kind promises, in its author's words.

`check_component` looks at one object, `check_path` and the like at one of a known kind, `parametrize_with_checks`
makes a pytest case of every check, and `check_plugin` looks at everything that a plugin declares, as
`flowkit check PLUGIN` and `pytest --flowkit PLUGIN` do. Nothing is imported before it is used: pytest loads this
package in every run.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .check import Check as Check
    from .check import CheckList as CheckList
    from .check import NotApplicable as NotApplicable
    from .check import NotChecked as NotChecked
    from .check import Subject as Subject
    from .check import require as require
    from .check import require_close as require_close
    from .kinds import check_callback as check_callback
    from .kinds import check_coupling as check_coupling
    from .kinds import check_data as check_data
    from .kinds import check_diffusion as check_diffusion
    from .kinds import check_field as check_field
    from .kinds import check_grid as check_grid
    from .kinds import check_guidance as check_guidance
    from .kinds import check_head as check_head
    from .kinds import check_integrator as check_integrator
    from .kinds import check_loss as check_loss
    from .kinds import check_metric as check_metric
    from .kinds import check_network as check_network
    from .kinds import check_path as check_path
    from .kinds import check_schedule as check_schedule
    from .kinds import check_source as check_source
    from .kinds import check_time as check_time
    from .kinds import check_weighting as check_weighting
    from .parametrize import parametrize_with_checks as parametrize_with_checks
    from .plugin import check_plugin as check_plugin
    from .report import Outcome as Outcome
    from .report import Report as Report
    from .run import check_component as check_component

_MODULES = {
    "check": ("Check", "CheckList", "NotApplicable", "NotChecked", "Subject", "require", "require_close"),
    "kinds": (
        "check_callback",
        "check_coupling",
        "check_data",
        "check_diffusion",
        "check_field",
        "check_grid",
        "check_guidance",
        "check_head",
        "check_integrator",
        "check_loss",
        "check_metric",
        "check_network",
        "check_path",
        "check_schedule",
        "check_source",
        "check_time",
        "check_weighting",
    ),
    "parametrize": ("parametrize_with_checks",),
    "plugin": ("check_plugin",),
    "report": ("Outcome", "Report"),
    "run": ("check_component",),
}

__all__ = sorted(name for names in _MODULES.values() for name in names)

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
