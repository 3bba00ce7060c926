"""The settings of a component, read from its source text: for shell completion, which must not wait for imports."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Setting", "settings_in_source"]

Setting = tuple[str, str, str]
"""Name, annotation and default, as they are written; an empty text for none."""


def settings_in_source(target: str) -> list[Setting]:
    """The parameters of the constructor of `module:Class`; none where its source does not show them.

    Nothing is imported. So it is a guess, which `form_of` is not: a constructor that is inherited from another module
    gives none.
    """
    module, _, name = target.partition(":")
    try:
        path = _path_of(module)
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError, ImportError):
        return []
    paths = [
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module == "pathlib"
        for alias in node.names
    ]
    found = _settings(name, {node.name: node for node in body if isinstance(node, ast.ClassDef)})
    return [
        (setting, f"pathlib.{annotation}" if annotation in paths else annotation, default)
        for setting, annotation, default in found
    ]


def _path_of(module: str) -> Path:
    """The file of a module, found without importing the packages that it is in."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(module)
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path


def _settings(name: str, classes: dict[str, ast.ClassDef]) -> Iterator[Setting]:
    node = classes.get(name)
    if node is None:
        return
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            yield from _parameters(item.args)
            return
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                yield item.target.id, _text(item.annotation), _text(item.value)
        return
    for base in node.bases:
        yield from _settings(ast.unparse(base), classes)


def _parameters(arguments: ast.arguments) -> Iterator[Setting]:
    positional = arguments.args[1:]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for argument, default in zip(
        [*positional, *arguments.kwonlyargs], [*defaults[-len(positional) :], *arguments.kw_defaults], strict=True
    ):
        yield argument.arg, _text(argument.annotation), _text(default)


def _text(node: ast.expr | None) -> str:
    return ast.unparse(node) if node else ""
