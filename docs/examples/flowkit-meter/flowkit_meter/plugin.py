"""What this plugin provides: a callback for runs that want it, and a hook for the reports of those that had it."""

from collections.abc import Iterator

from flowkit.plugins import Component, ReportDraft, Section, hookimpl

flowkit_api = 1


@hookimpl
def flowkit_components() -> Iterator[Component]:
    """The callback."""
    yield Component(
        kind="callback",
        name="meter",
        target="flowkit_meter.meter:Meter",
        summary="time and memory of training, for the report",
    )


@hookimpl
def flowkit_report_sections(context: ReportDraft) -> Iterator[Section]:
    """What the run cost, if it was metered."""
    from .section import cost_section  # what is imported up here, every command of flowkit waits for

    if section := cost_section(context.folder):
        yield section
