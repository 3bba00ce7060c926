"""Conformance checks: whether a component does what its kind promises, in its author's words.

`check_component` looks at one object; `flowkit check PLUGIN` and `pytest --flowkit PLUGIN` at a whole plugin.
"""

from .check import Check, CheckList, NotApplicable, Subject, require, require_close
from .report import Outcome, Report
from .run import check_component

__all__ = [
    "Check",
    "CheckList",
    "NotApplicable",
    "Outcome",
    "Report",
    "Subject",
    "check_component",
    "require",
    "require_close",
]
