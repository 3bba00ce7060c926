"""The reference has every public name and every component once."""

import importlib
import importlib.util
from pathlib import Path

import pytest

from flowkit.plugins import installed_plugins

PAGE = Path(__file__).parents[2] / "docs/reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", ["flowkit", "flowkit.plugins", "flowkit.testing"])
def test_every_public_name_is_there_once(reference, package):
    names = [name for _, _, of, names in reference.PYTHON.values() if of == package for name in names.split()]
    assert sorted(names) == sorted(importlib.import_module(package).__all__)


def test_every_component_is_there_with_its_settings(reference):
    pages = dict(reference.component_pages())
    standard = [e for e in installed_plugins().registry if e.distribution == "flowkit-torch"]
    assert standard
    for entry in standard:
        page = pages[f"components/{entry.component.kind}"]
        assert page.count(f"\n## {entry.component.name}\n") == 1
        assert f"`{entry.target}`" in page
    assert "\n| `scale` | float (> 0) | `1.0` | Its size. |\n" in pages["components/path"]


def test_the_site_leads_to_every_page(reference):
    navigation = (PAGE.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
    for name, _ in (*reference.python_pages(), *reference.component_pages()):
        assert f": reference/{name}.md\n" in navigation
