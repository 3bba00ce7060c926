"""The settings of a component, derived from the typed signature of its constructor.

The signature is the single truth: `width: Annotated[int, Field(gt=0)] = 128` is a setting with a range and a
default, `schedule: Schedule` is a slot that takes another component, and `event_shape: EventShape` is filled in
by the build and is no setting.
"""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, create_model

from ..errors import PluginError
from ..injection import Injected
from ..plugins.kinds import Kind
from ..plugins.registry import resolve_target

__all__ = ["REQUIRED", "Form", "Slot", "form_of", "plain_model"]

REQUIRED: Any = inspect.Parameter.empty
"""The default of a setting that has none."""


@dataclass(frozen=True)
class Slot:
    """A setting that is itself a component.

    Arguments:
        kind: Of which kind.
        default: A component's name or instance, None, or `REQUIRED`.
        optional: Whether None is allowed.
        many: Whether it takes a list.
        meaning: What it is, where no docstring says so.
    """

    kind: str
    default: Any = REQUIRED
    optional: bool = False
    many: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Form:
    """What may be filled in.

    Arguments:
        model: The settings that are plain values, as a pydantic model.
        slots: The settings that are components.
        injected: Parameter to the name of the value that the build gives it.
    """

    model: type[BaseModel]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    injected: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Every setting, slots included."""
        return [*self.slots, *self.model.model_fields]


def form_of(cls: type, kinds: Mapping[str, Kind]) -> Form:
    """The form of a component's class.

    Raises:
        PluginError: The signature cannot be registered.
    """
    if isinstance(config := getattr(cls, "Config", None), type) and issubclass(config, BaseModel):
        return Form(config)
    slots: dict[str, Slot] = {}
    injected: dict[str, str] = {}
    plain: dict[str, tuple[Any, Any]] = {}
    for parameter, hint in _parameters(cls):
        if marker := _injected(hint):
            injected[parameter.name] = marker.value
        elif slot := _slot(hint, parameter.default, kinds):
            slots[parameter.name] = slot
        else:
            default = ... if parameter.default is REQUIRED else parameter.default
            plain[parameter.name] = (hint, default)
    try:
        return Form(plain_model(cls.__name__, plain), slots, injected)
    except Exception as error:  # pydantic knows no such type
        reason = str(error).partition("\n")[0]
        raise PluginError(
            f"{cls.__qualname__}: its settings cannot be checked: {reason} "
            "(a class can be a setting only where it is the interface of a kind that a loaded plugin declares)"
        ) from error


def plain_model(name: str, fields: Mapping[str, tuple[Any, Any]]) -> type[BaseModel]:
    """A pydantic model that allows these fields and no others."""
    config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=False)
    return create_model(name, __config__=config, **dict(fields))  # type: ignore[call-overload]


def _parameters(cls: type) -> list[tuple[inspect.Parameter, Any]]:
    constructor = cls.__init__  # type: ignore[misc]
    if constructor is object.__init__ or _is_of_torch(constructor):
        return []
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception as error:
        raise PluginError(f"{cls.__qualname__}: its type hints cannot be read: {error}") from error
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    factories = {f.name: f.default_factory for f in fields if f.default_factory is not dataclasses.MISSING}
    found = []
    for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise PluginError(
                f"{cls.__qualname__}: parameter {parameter} cannot be a setting: name every parameter, or give "
                f"the class a pydantic model 'Config'"
            )
        if parameter.name == "name":
            raise PluginError(f"{cls.__qualname__}: 'name' is taken: it chooses the component")
        if parameter.name.startswith("_"):
            raise PluginError(f"{cls.__qualname__}: a setting's name starts with a letter; rename {parameter.name!r}")
        default = factories[parameter.name]() if parameter.name in factories else parameter.default
        found.append((parameter.replace(default=default), hints.get(parameter.name, Any)))
    return found


def _is_of_torch(constructor: Any) -> bool:
    """Whether a network has left out a constructor. torch.compile replaces that of `nn.Module` by one of its own."""
    nn = sys.modules.get("torch.nn")
    return nn is not None and (constructor is nn.Module.__init__ or constructor.__module__.startswith("torch.nn."))


def _injected(hint: Any) -> Injected | None:
    if typing.get_origin(hint) is Annotated:
        return next((extra for extra in hint.__metadata__ if isinstance(extra, Injected)), None)
    return None


def _slot(hint: Any, default: Any, kinds: Mapping[str, Kind]) -> Slot | None:
    if typing.get_origin(hint) is Annotated:
        hint = hint.__origin__
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        optional = len(choices) < len(typing.get_args(hint))
        if len(choices) != 1:
            return None
        hint = choices[0]
    many = typing.get_origin(hint) in (list, tuple, Sequence)
    if many:
        hint = typing.get_args(hint)[0]
    if not isinstance(hint, type):
        return None
    kind = next((kind.name for kind in kinds.values() if _is_interface(hint, kind)), None)
    return Slot(kind, default, optional, many) if kind else None


def _is_interface(cls: type, kind: Kind) -> bool:
    """Whether a class is the interface of a kind, which may be declared by the package that exports it."""
    module, _, name = kind.interface.partition(":")
    if name != cls.__qualname__:
        return False
    try:
        return module == cls.__module__ or resolve_target(kind.interface) is cls
    except Exception:  # an interface that does not import is nobody's
        return False
