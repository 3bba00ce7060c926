"""`flowkit show`: one component, one kind, one recipe, or one section."""

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ..config.docstring import arguments_of, first_paragraph, sections_of
from ..errors import ConfigError
from ..plugins.manager import PluginManager, installed_plugins
from ..plugins.registry import Registry
from .completion import complete_component, complete_shown
from .tables import table

if TYPE_CHECKING:
    from ..config.form import Form

__all__ = ["component_rows", "section_rows", "show", "value_text"]


def show(
    kind: Annotated[
        str,
        typer.Argument(
            help="A kind, such as path; or recipe, training, sampling, evaluation.", autocompletion=complete_shown
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(help="The name of a component, such as gaussian.", autocompletion=complete_component),
    ] = None,
) -> None:
    """Show a component with its settings; without a name, what its kind asks of one; or the text of a recipe; or the
    settings of training, sampling or evaluation.
    """
    plugins, console = installed_plugins(), Console(highlight=False)
    if kind == "recipe":
        _show_recipe(name, plugins)
    elif _is_section(kind, plugins.registry):
        _show_section(kind, name, plugins.registry, console)
    elif name is None:
        _show_kind(kind, plugins.registry, console)
    else:
        _show_component(kind, name, plugins.registry, console)


def _show_recipe(name: str | None, plugins: PluginManager) -> None:
    from ..pipeline.recipes import recipe_text

    if name is None:
        names = ", ".join(recipe.name for recipe, _ in plugins.recipes) or "none"
        raise ConfigError(f"name a recipe, as in `flowkit show recipe NAME`; recipes: {names}")
    print(recipe_text(name, plugins), end="")


def _is_section(name: str, registry: Registry) -> bool:
    from ..config.sections import FORMS

    return name in FORMS and name not in registry.kinds


def _show_section(section: str, name: str | None, registry: Registry, console: Console) -> None:
    from ..config.sections import FORMS

    if name is not None:
        raise ConfigError(f"{section} is a section, which holds no components: `flowkit show {section}` is all of it")
    console.print(f"[bold]{section}[/]  {escape(first_paragraph(FORMS[section].model))}\n")
    settings = table("setting", "type", "default", "what it is")
    for row in section_rows(section, registry):
        settings.add_row(*map(escape, row))
    console.print(settings)


def section_rows(section: str, registry: Registry) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of every setting of `training`, `sampling` or `evaluation`."""
    from ..config.sections import FORMS

    form = FORMS[section]
    for name, kind, default in _settings(form, registry):
        if name in form.slots:
            slot = form.slots[name]
            yield name, kind, default if slot.optional else _chosen_unasked(slot.kind, registry), slot.meaning
        else:
            yield name, kind, default, form.model.model_fields[name].description or ""


def _chosen_unasked(kind: str, registry: Registry) -> str:
    """The component that a plugin declares the default of its kind."""
    defaults = [entry for entry in registry.of_kind(kind) if "any" in entry.component.default_for]
    return " or ".join(map(registry.name_of, defaults)) or "required"


def _show_component(kind: str, name: str, registry: Registry, console: Console) -> None:
    from ..config.form import form_of

    entry = registry.find(kind, name)
    cls = registry.load(entry)
    form, sections = form_of(cls, registry.kinds), sections_of(cls)
    console.print(f"[bold]{kind} {name}[/]  {escape(entry.component.summary)}")
    console.print(f"{entry.target}, from {entry.distribution} {entry.version}", style="dim")
    if "__deprecated__" in vars(cls):  # PEP 702
        console.print(f"deprecated: {vars(cls)['__deprecated__']}", markup=False, style="yellow")
    _print_text(sections[""], console)
    settings = table("setting", "type", "default", "what it is")
    for row in component_rows(cls, registry):
        settings.add_row(*map(escape, row))
    console.print(settings if settings.row_count else "It has no settings.")
    if form.injected:
        console.print(f"\nFilled in by a pipeline: {', '.join(form.injected)}.")
    if entry.component.examples:
        _print_text("\n".join(f"For example {_in_one_line(example)}" for example in entry.component.examples), console)
    for heading in ("References", "See also"):
        if heading in sections:
            _print_text(f"{heading}:\n{sections[heading]}", console)


def component_rows(cls: type, registry: Registry) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of every setting of a component's class."""
    from ..config.form import form_of

    meanings = arguments_of(cls)
    for name, kind, default in _settings(form_of(cls, registry.kinds), registry):
        yield name, kind, default, meanings.get(name, "")


def _in_one_line(settings: Mapping[str, Any]) -> str:
    """Settings as YAML writes them in one line."""
    import yaml

    return str(yaml.safe_dump(dict(settings), default_flow_style=True, sort_keys=False, width=10**6)).strip()


def _show_kind(kind: str, registry: Registry, console: Console) -> None:
    declared, interface = registry.kind(kind), registry.interface(kind)
    console.print(f"[bold]{kind}[/]  {escape(declared.summary)}")
    console.print(f"{declared.interface}, from {registry.origin(kind) or 'flowkit'}", style="dim")
    _print_text(inspect.cleandoc(interface.__doc__ or ""), console)
    gives = table("a subclass", "", "")
    for what, label, meaning in _members(interface):
        gives.add_row(what, escape(label), escape(meaning))
    if gives.row_count:
        console.print(gives)
    names = [registry.name_of(entry) for entry in registry.of_kind(kind)]
    console.print(f"\n{kind}: {', '.join(names)}" if names else f"\nNo installed plugin provides a {kind}.")


def _members(interface: type) -> Iterator[tuple[str, str, str]]:
    """What a subclass gives, and what it may give: each with the parameters and the first paragraph."""
    abstract: frozenset[str] = getattr(interface, "__abstractmethods__", frozenset())
    found = [
        ("gives" if name in abstract else "may give", _called(name, member), first_paragraph(member))
        for base in interface.__mro__
        if base.__module__ == interface.__module__ and base is not object
        for name, member in vars(base).items()
        if (not name.startswith("_") or name == "__call__") and isinstance(member, (types.FunctionType, property))
    ]
    return iter(sorted(dict.fromkeys(found), key=lambda member: member[0]))


def _called(name: str, member: Any) -> str:
    if isinstance(member, property):
        return name
    parameters = list(inspect.signature(member).parameters.values())[1:]
    plain = [str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters]
    return f"{name}({', '.join(plain)})"


def _print_text(text: str, console: Console) -> None:
    if text:
        console.print(f"\n{text}\n", markup=False)


def _settings(form: "Form", registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Name, type with its range, and default of every setting."""
    from ..config.form import REQUIRED

    for name, slot in form.slots.items():
        kind = f"list of {slot.kind}" if slot.many else slot.kind
        default = "required" if slot.default is REQUIRED else _default(slot.default, slot.kind, registry)
        yield name, f"{kind} | null" if slot.optional else kind, default
    for name, field in form.model.model_fields.items():
        hint: Any = field.annotation
        if field.metadata:
            hint = Annotated[hint, *field.metadata]
        yield name, type_text(hint), "required" if field.is_required() else value_text(field.get_default())


def _default(value: Any, kind: str, registry: Registry) -> str:
    if value is None or isinstance(value, str):
        return value or "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_default(item, kind, registry) for item in value)}]"
    entry = registry.entry_of(kind, value)
    return entry.component.name if entry else type(value).__name__


def value_text(value: Any) -> str:
    """A value as a configuration writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def type_text(hint: Any) -> str:
    """A type with its range, as in `float (> 0) | null`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is None or hint is type(None):
        return "null"
    if origin is Annotated:
        limits = ", ".join(_limits(hint.__metadata__))
        return f"{type_text(arguments[0])} ({limits})" if limits else type_text(arguments[0])
    if origin is Literal:
        return " | ".join(map(value_text, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if arguments:
        inner = ", ".join("..." if argument is ... else type_text(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return getattr(hint, "__name__", str(hint))


_LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
_LIMITS |= {"min_length": "length >=", "max_length": "length <=", "pattern": "matching"}


def _limits(metadata: Any) -> Iterator[str]:
    for item in metadata:
        if hasattr(item, "metadata"):  # pydantic's Field
            yield from _limits(item.metadata)
            continue
        for attribute, symbol in _LIMITS.items():
            if getattr(item, attribute, None) is not None:
                yield f"{symbol} {getattr(item, attribute)}"
