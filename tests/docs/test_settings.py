"""The tables of docs/settings.md are those of `flowkit show`."""

from pathlib import Path

import pytest

from flowkit.cli.show import section_rows
from flowkit.config.sections import FORMS
from flowkit.plugins import installed_plugins

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def as_table(section):
    lines = ["| setting | type | default | what it is |", "|---|---|---|---|"]
    for name, kind, default, meaning in section_rows(section, installed_plugins().registry):
        lines.append(f"| `{section}.{name}` | {kind.replace(' | ', ' or ')} | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("section", FORMS)
def test_the_page_has_every_setting_of_a_section_as_it_is(section):
    table = as_table(section)
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n\n{table}\n" in text, f"docs/settings.md needs this table:\n\n{table}"
