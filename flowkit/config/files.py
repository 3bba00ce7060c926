"""Reading YAML files and `section.setting=value` overrides."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

__all__ = ["merge", "override", "parse_yaml", "read_yaml", "write_yaml"]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: It is missing, not YAML, or not a mapping; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping in a YAML text."""
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{where}: should hold sections such as 'data:' and 'training:'; it holds {found}")
    return value


def write_yaml(value: Mapping[str, Any]) -> str:
    """YAML text that `parse_yaml` reads back."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def override(given: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A configuration with `section.setting=value` applied; values are YAML.

    Choosing another component (`network=unet`) drops the settings of the one before. What is chosen comes before what
    is set of it, in whatever order they are written; of two values for one place the last counts.

    Raises:
        ConfigError: An assignment is not of that form, or goes into a list.
    """
    parsed = [_parsed(assignment) for assignment in assignments]
    lasting = [one for i, one in enumerate(parsed) if not any(_says(later, one) for later in parsed[i + 1 :])]
    result = dict(given)
    for keys, value in sorted(lasting, key=_depth):
        result = _set(result, keys, value, ".".join(keys))
    return result


_Assignment = tuple[list[str], Any]
"""The keys of a place, and the value that it gets."""


def _parsed(assignment: str) -> _Assignment:
    place, equals, text = assignment.partition("=")
    keys = place.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{assignment!r} is not of the form section.setting=value")
    try:
        return keys, yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"{assignment!r}: the value is not valid YAML") from None


def _depth(assignment: _Assignment) -> int:
    """How deep an assignment reaches; a name counts as the component that it chooses."""
    keys, _ = assignment
    return len(keys) - (keys[-1] == "name")


def _says(later: _Assignment, one: _Assignment) -> bool:
    """Whether the value of a later assignment, a mapping, holds the place of an earlier one."""
    (outer, value), (keys, _) = later, one
    if keys[: len(outer)] != outer:
        return False
    for key in keys[len(outer) :]:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`first` with what `second` says put over it, section by section; another name replaces a component."""
    result = dict(first)
    for key, value in second.items():
        before = _as_mapping(result.get(key))
        same = isinstance(value, Mapping) and ("name" not in value or value["name"] == before.get("name"))
        result[key] = merge(before, value) if before and same else value
    return result


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """Settings, also of a component that was given by its name alone; none for anything else."""
    if isinstance(value, str):
        return {"name": value}
    return value if isinstance(value, Mapping) else {}


def _set(node: Any, keys: list[str], value: Any, place: str) -> Any:
    if not keys:
        return value
    if isinstance(node, list):
        section = place.removesuffix("." + ".".join(keys))
        raise ConfigError(f"{place}: {section} is a list here, which has no setting {keys[0]!r}: write it out anew")
    node = dict(_as_mapping(node))
    if keys == ["name"] and node.get("name") != value:
        return {"name": value}
    node[keys[0]] = _set(node.get(keys[0]), keys[1:], value, place)
    return node


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which quotes the texts that `_Loader` would take for numbers."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that refuses a key given twice, which the standard one overwrites unseen, and reads `1e5`
    as a number, as YAML 1.2 does; 1.1 wants `1.0e+5`.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<`, whose keys may be given again
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (dict, list)):
                raise yaml.constructor.ConstructorError(None, None, "a key should be a name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        self.flatten_mapping(node)
        return super().construct_mapping(node, deep)


_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
