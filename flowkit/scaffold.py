"""A new plugin package, complete with an example of each kind that was asked for, written from templates."""

import importlib.metadata
import importlib.util
import itertools
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from . import __version__
from .config.files import parse_yaml
from .errors import ConfigError
from .export import check_place
from .plugins import KINDS, PluginManager, Registry, installed_plugins

__all__ = ["NewPlugin", "new_plugin"]

_TEMPLATES = "templates/plugin"
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_COMPONENT = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class NewPlugin:
    """What was written.

    Arguments:
        folder: Where.
        distribution: What pip and `flowkit check` call it.
        files: Every file, relative to the folder.
        notes: What its author should know of its names.
    """

    folder: Path
    distribution: str
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def new_plugin(
    name: str,
    kinds: Sequence[str] = ("path",),
    folder: str | Path | None = None,
    component: str | None = None,
    plugins: PluginManager | None = None,
) -> NewPlugin:
    """Write a plugin package that can be installed, passes its tests and trains as it stands.

    Arguments:
        name: Of the distribution, such as `flowkit-spiral`.
        kinds: The kinds that it has an example of, in a module each.
        folder: Where to; `./NAME` by default.
        component: What configurations call the examples; made of the name by default, `spiral`.
        plugins: The plugins whose names count as taken; the installed ones by default.

    Raises:
        ConfigError: It cannot be written under this name, or there.
        UnknownComponentError: There is no such kind.

    Examples:
        >>> new_plugin("flowkit-spiral", kinds=["path", "schedule"]).folder
        PosixPath('flowkit-spiral')
    """
    registry = (plugins or installed_plugins()).registry
    kinds = tuple(dict.fromkeys(kinds))
    package = re.sub(r"[-_.]+", "_", name).lower()
    component = component or package.removeprefix("flowkit_")
    folder = Path(name if folder is None else folder)
    problems = itertools.chain(
        _name_problems(name, package),
        _component_problems(component),
        _kind_problems(kinds, registry),
        _folder_problems(folder),
    )
    if problem := next(problems, None):
        raise ConfigError(problem)
    taken = [kind for kind in kinds if _entries(registry, kind, component)]
    pages = dict(_pages(name, package, component, kinds, taken, registry))
    for path, text in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return NewPlugin(folder, name, tuple(map(Path, pages)), tuple(_notes(name, component, taken, registry)))


def _pages(
    name: str, package: str, component: str, kinds: Sequence[str], taken: Sequence[str], registry: Registry
) -> Iterator[tuple[str, str]]:
    """Every file, by its place in the package."""

    def existing(kind: str, other: str) -> str:
        """How another package's component is called beside the new ones."""
        entries = _entries(registry, kind, other) if kind in kinds and other == component else []
        return entries[0].qualified if entries else other

    environment = Environment(
        loader=PackageLoader("flowkit", _TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "distribution": name,
        "package": package,
        "component": component,
        "prefix": "".join(part.capitalize() for part in component.split("_")),
        "kinds": kinds,
        "existing": existing,
        "version": __version__,
        "year": datetime.now().year,
    }
    environment.globals["parts"] = [
        _part(kind, f"{name}/{component}" if kind in taken else component, component, environment) for kind in kinds
    ]
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": "LICENSE",
        ".gitignore": "gitignore",
        ".github/workflows/tests.yml": "tests.yml",
        f"{package}/__init__.py": "init.py",
        f"{package}/plugin.py": "plugin.py",
        **{f"{package}/{kind}.py": f"components/{kind}.py" for kind in kinds},
        **{f"tests/test_{kind}.py": f"tests/{kind}.py" for kind in kinds},
        "tests/test_readme.py": "tests/readme.py",
    }
    yield f"{package}/py.typed", ""
    for path, template in files.items():
        yield path, environment.get_template(f"{template}.jinja").render()


def _part(kind: str, name: str, component: str, environment: Environment) -> dict[str, str]:
    """What the templates must know of the example of a kind: `kinds.yaml`, filled in."""
    run = f"runs/{component}-{kind}"
    told = _kinds_with_example()[kind]
    told = {key: environment.from_string(text).render(name=name, run=run) for key, text in told.items()}
    return {"then": "", "examples": ""} | told | {"kind": kind, "name": name, "run": run}


def _kinds_with_example() -> Mapping[str, Mapping[str, str]]:
    text = resources.files("flowkit").joinpath(_TEMPLATES, "kinds.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, "kinds.yaml")


def _name_problems(name: str, package: str) -> Iterator[str]:
    if not _DISTRIBUTION.fullmatch(name) or not package.isidentifier() or keyword.iskeyword(package):
        yield (
            f"{name!r} is no name for a package: start with a letter and use letters, digits and hyphens, such as "
            f"flowkit-spiral"
        )
        return
    if package == "tests":
        yield f"{name!r} is the folder of the tests: choose another name"
        return
    try:
        found = importlib.metadata.distribution(name)
        yield f"{found.name} {found.version} is installed: choose another name, or uninstall it first"
        return
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
    if spec and spec.origin:
        yield f"{name!r} would hide the module {package!r} that is there already ({spec.origin}): choose another name"


def _component_problems(component: str) -> Iterator[str]:
    if not _COMPONENT.fullmatch(component):
        yield (
            f"{component!r} is no name for a component: start with a letter and use lower case letters, digits and "
            f"underscores; --component chooses one"
        )


def _kind_problems(kinds: Sequence[str], registry: Registry) -> Iterator[str]:
    if not kinds:
        yield f"at least one kind is needed: {', '.join(KINDS)}"
    examples = _kinds_with_example()
    for kind in kinds:
        known = registry.kind(kind)
        if kind not in examples:
            yield (
                f"there is no example of the kind {kind!r}, which {registry.origin(kind)} adds: start from another "
                f"kind, and give the package a subclass of {known.interface}"
            )


def _folder_problems(folder: Path) -> Iterator[str]:
    if folder.is_file():
        yield f"{folder}: is a file; --out names another place"
    elif folder.is_dir() and any(folder.iterdir()):
        yield f"{folder}: is not empty; --out names another place"
    else:
        check_place(folder)


def _notes(name: str, component: str, taken: Sequence[str], registry: Registry) -> Iterator[str]:
    for kind in taken:
        owners = " and ".join(entry.distribution for entry in _entries(registry, kind, component))
        yield (
            f"{owners} has the {kind} {component!r} too: yours is {name}/{component}, as its README has it; "
            f"--component chooses another name"
        )


def _entries(registry: Registry, kind: str, name: str) -> list[Any]:
    return [entry for entry in registry.of_kind(kind) if entry.component.name == name]
