"""The settings of a component, read from its source text: for shell completion, which must not wait for imports."""

import ast
import importlib.util
from pathlib import Path

__all__ = ["Setting", "settings_in_source"]

Setting = tuple[str, str, str]
"""Name, annotation and default, as they are written; an empty text for none."""


def settings_in_source(target: str, depth: int = 5) -> list[Setting]:
    """The parameters of the constructor of `module:Class`; none where source texts do not show them.

    Nothing is imported, so it is a guess, which `form_of` is not.

    Arguments:
        target: The class.
        depth: Through how many modules a class that is imported there, or a base, is followed.
    """
    module, _, name = target.partition(":")
    try:
        path = _path_of(module)
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError, ImportError):
        return []
    imported = _imported(body, module if path.name == "__init__.py" else module.rpartition(".")[0])
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    while name in classes:
        found = _own_settings(classes[name])
        if found is not None:
            return [(setting, _qualified(annotation, imported), default) for setting, annotation, default in found]
        if len(classes[name].bases) != 1:
            return []
        name = ast.unparse(classes[name].bases[0])
    return settings_in_source(imported[name], depth - 1) if name in imported and depth else []


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


def _imported(body: list[ast.stmt], package: str) -> dict[str, str]:
    """The names that a module of this package imports from others, each with its `module:name`."""
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, node.module] if node.module else parents)
            found |= {alias.asname or alias.name: f"{module}:{alias.name}" for alias in node.names}
    return found


def _own_settings(node: ast.ClassDef) -> list[Setting] | None:
    """The parameters of a constructor that the class itself has, as a dataclass or written out."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _parameters(item.args)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return [(ast.unparse(item.target), _text(item.annotation), _text(item.value)) for item in fields]
    return None


def _parameters(arguments: ast.arguments) -> list[Setting]:
    positional = arguments.args[1:]
    defaults: list[ast.expr | None] = [None] * len(positional) + [*arguments.defaults]
    parameters = [*positional, *arguments.kwonlyargs]
    values = [*defaults[len(defaults) - len(positional) :], *arguments.kw_defaults]
    return [(p.arg, _text(p.annotation), _text(value)) for p, value in zip(parameters, values, strict=True)]


def _qualified(annotation: str, imported: dict[str, str]) -> str:
    """`Path` as `pathlib.Path` where it comes from there: it is no slot for a path."""
    return annotation.replace("Path", "pathlib.Path") if imported.get("Path") == "pathlib:Path" else annotation


def _text(node: ast.expr | None) -> str:
    return ast.unparse(node) if node else ""
