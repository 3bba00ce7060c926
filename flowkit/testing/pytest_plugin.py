"""`pytest --flowkit PLUGIN`: a test for each check of each component; and a fixture for tests of plugins.

pytest loads this module in every run where flowkit is installed: whatever is more than a name is imported on use.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..plugins import PluginManager
    from .check import Check
    from .plugin import Case

__all__ = ["flowkit_plugins"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option `--flowkit`."""
    group = parser.getgroup("flowkit", "conformance of flowkit plugins")
    group.addoption(
        "--flowkit",
        metavar="PLUGIN",
        action="append",
        default=[],
        help="check every component of a plugin: a distribution, or distribution:entry_point; may be given again",
    )


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Put the plugins asked for beside the folders and files that pytest has found."""
    report = yield
    if isinstance(collector, pytest.Session) and report.passed:
        names = collector.config.getoption("flowkit")
        report.result += [PluginCollector.from_parent(collector, name=name, nodeid=name) for name in names]
    return report


class PluginCollector(pytest.Collector):
    """Everything that a plugin declares."""

    def collect(self) -> Iterator["CheckItem"]:
        """An item for each check."""
        from ..errors import FlowkitError
        from .plugin import plugin_cases

        try:
            for case in plugin_cases(self.name):
                for check in case.checks:
                    yield CheckItem.from_parent(self, name=f"{case.label}::{check.name}", case=case, check=check)
        except FlowkitError as error:
            raise self.CollectError(f"--flowkit: {error}") from error


class CheckItem(pytest.Item):
    """One check of one component.

    Arguments:
        case: The component.
        check: The check.
        keywords: What pytest gives.
    """

    def __init__(self, *, case: "Case", check: "Check", **keywords: Any) -> None:
        super().__init__(**keywords)
        self.case, self.check = case, check

    def runtest(self) -> None:
        """Run it, and tell pytest what came of it."""
        from .run import run_check

        outcome = run_check(self.check, self.case.subject, self.case.label)
        if outcome.status == "failed":
            pytest.fail(str(outcome), pytrace=False)
        if outcome.status != "passed":
            pytest.skip(f"{outcome.component}: {outcome.status}: {outcome.message}")

    def reportinfo(self) -> tuple[Any, None, str]:
        """What pytest calls it."""
        return self.path, None, self.name


@pytest.fixture
def flowkit_plugins() -> "PluginManager":
    """A plugin manager that has found nothing: `flowkit_plugins.add(plugin, "mine")` puts a plugin in."""
    from ..plugins import PluginManager

    return PluginManager({})
