"""`flowkit schema`: the JSON Schema of configurations, for editors."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import ConfigError
from ..plugins.manager import installed_plugins

__all__ = ["schema"]


def schema(
    out: Annotated[
        Path | None, typer.Option(help="Where to, such as flowkit.schema.json; the terminal by default.")
    ] = None,
) -> None:
    """Write the JSON Schema of configurations: what editors complete and check YAML files with."""
    from ..config.schema import MODELINE, schema_and_failures

    found, failures = schema_and_failures(installed_plugins())
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if out is None:
        print(text, end="")
    else:
        _write(out, text)
        console.print(f"{len(found['$defs'])} definitions in {out}; the first line of a YAML file that follows it:")
        print(MODELINE.format(out.name if out.parent == Path() else out.absolute().as_uri()))
    for failure in failures:
        console.print(f"left out: {failure}", markup=False, style="yellow")


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written to ({error.strerror})") from None
