"""What came of a round of checks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .check import Check

__all__ = ["Outcome", "Report", "Status"]

Status = Literal["passed", "failed", "not applicable", "not checked", "expected"]


@dataclass(frozen=True)
class Outcome:
    """What came of one check on one component.

    Arguments:
        component: What was checked, `path spiral`.
        check: The check.
        status: `passed`, `failed`, `not applicable`, `not checked` where the component could not be looked at, or
            `expected`: it failed, as its author said that it would.
        message: What was seen, why it does not apply, or a remark.
    """

    component: str
    check: Check
    status: Status
    message: str = ""

    def __str__(self) -> str:
        text = f"{self.component}: {self.check.name}: {self.status}"
        if self.message:
            text += f": {self.message}"
        if self.status == "failed" and self.check.hint:
            text += f"\n  {self.check.hint}"
        return text


@dataclass
class Report:
    """The outcomes, in the order of the checks.

    Arguments:
        outcomes: One for each check on each component.
    """

    outcomes: list[Outcome] = field(default_factory=list)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def of(self, status: Status) -> list[Outcome]:
        """Those that ended like this."""
        return [outcome for outcome in self.outcomes if outcome.status == status]

    @property
    def failed(self) -> list[Outcome]:
        """Those that failed and were not expected to."""
        return self.of("failed")

    def raise_failures(self) -> None:
        """Raise an AssertionError that tells all failures, if there are any."""
        if self.failed:
            raise AssertionError("\n".join(map(str, self.failed)))
