"""What every integrator must do."""

from .check import CheckList

__all__ = ["CHECKS"]

CHECKS = CheckList()
