"""The tables that commands print."""

from rich.table import Table

__all__ = ["table"]


def table(*columns: str) -> Table:
    """An empty table without lines, whose cells wrap."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
