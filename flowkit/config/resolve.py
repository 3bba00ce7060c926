"""From what a user wrote to complete choices: names found, settings checked, defaults filled in.

Nothing here raises at the first mistake: problems are collected, with the place of each. A component is
imported only when its settings must be known.
"""

from collections.abc import Collection, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..errors import FlowkitError, Problem
from ..plugins.registry import Entry, Registry
from .choice import Choice
from .form import REQUIRED, Form, Slot, form_of
from .suggestions import how_to_give, name_missing, no_such_setting

__all__ = ["Resolver"]


class Resolver:
    """Resolves the parts of one configuration and gathers what is wrong with them.

    Arguments:
        registry: The components there are.
        check_only: Look at names, and at settings that are written out, but fill in no defaults: what is
            done once a configuration is known to be wrong, to report the rest without importing everything.
        may_be_absent: Sections whose Python objects, which a file cannot hold, are not needed.
    """

    def __init__(self, registry: Registry, check_only: bool = False, may_be_absent: Collection[str] = ()) -> None:
        self.registry, self.check_only, self.may_be_absent = registry, check_only, may_be_absent
        self.problems: list[Problem] = []

    def problem(self, where: str, message: str) -> None:
        """Note something wrong; of several things at one place the first is the cause."""
        if all(problem.where != where for problem in self.problems):
            self.problems.append(Problem(where, message))

    def form(self, form: Form, given: Any, where: str, entry: Entry | None = None) -> dict[str, Any]:
        """The values of a form, that of a component or of a section: plain settings validated, slots resolved."""
        if given is None:
            given = {}
        if not isinstance(given, Mapping):
            self.problem(where, f"takes settings, as in {{{form.names[0]}: ...}}; got {given!r}")
            return {}
        prefix = f"{where}." if where else ""
        values: dict[str, Any] = {}
        for name in given:
            if name not in form.names:
                self.problem(f"{prefix}{name}", no_such_setting(str(name), form.names, entry, self.registry))
        for name, slot in form.slots.items():
            if name in given or not self._is_beyond_words(slot):
                values[name] = self.slot(slot, given.get(name, slot.default), f"{prefix}{name}")
        plain = {name: value for name, value in given.items() if name in form.model.model_fields}
        values.update(self._plain(form.model, plain, prefix))
        return values

    def slot(self, slot: Slot, given: Any, where: str) -> Any:
        """The choice, or list of choices, for a slot."""
        if given is REQUIRED:
            self.problem(where, self._required(slot.kind))
            return None
        if slot.many and not (given is None and slot.optional):
            if given is None or isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
                given = [] if given is None else [given]
            return [self.choice(slot.kind, item, f"{where}[{i}]") for i, item in enumerate(given)]
        if given is None:
            if not slot.optional:
                self.problem(where, self._required(slot.kind))
            return None
        if slot.optional and given == "none" and "none" not in self._names(slot.kind):
            self.problem(where, f"there is no {slot.kind} 'none': null leaves it out")
            return None
        if isinstance(given, Mapping) and not {"name", "instance"} & given.keys():
            try:
                given = self._default_name(slot) | dict(given)
            except FlowkitError as error:
                self.problem(where, str(error))
                return None
        return self.choice(slot.kind, given, where)

    def choice(self, kind: str, given: Any, where: str) -> Choice | None:
        """The component that `given` (a name, `{name: ..., **settings}` or an object) chooses."""
        if not isinstance(given, (str, Mapping)):
            return self._instance(kind, given, where)
        settings = {} if isinstance(given, str) else dict(given)
        if "instance" in settings and "name" not in settings:
            absent = Choice(kind, None, name=str(settings["instance"]))
            if where.partition("[")[0] not in self.may_be_absent:
                self.problem(where, absent.why_absent)
            return absent
        name = given if isinstance(given, str) else settings.pop("name", None)
        if not isinstance(name, str):
            self.problem(where, name_missing(kind, settings, self.registry))
            return None
        try:
            entry = self.registry.find(kind, name)
        except FlowkitError as error:
            self.problem(where, str(error))
            return None
        if self.check_only and not settings:
            return None
        return self._filled(entry, settings, where)

    def _filled(self, entry: Entry, given: Mapping[str, Any], where: str) -> Choice | None:
        try:
            form = form_of(self.registry.load(entry), self.registry.kinds)
        except FlowkitError as error:
            self.problem(where, str(error))
            return None
        settings = self.form(form, given, where, entry)
        return Choice(entry.component.kind, entry, settings, name=self.registry.name_of(entry))

    def _instance(self, kind: str, given: Any, where: str) -> Choice | None:
        try:
            interface = self.registry.interface(kind)
        except FlowkitError as error:
            self.problem(where, str(error))
            return None
        if not isinstance(given, interface):
            self.problem(
                where,
                f"takes a name, a mapping with a name, or an object of {interface.__name__}; got {_short(given)}"
                + how_to_give(kind, given),
            )
            return None
        return self.describe(kind, given) or _unregistered(kind, given)

    def describe(self, kind: str, instance: Any) -> Choice | None:
        """The choice that an object of a registered class amounts to: its settings are read back from the
        attributes that bear their names. None where that cannot be done.
        """
        entry = self.registry.entry_of(kind, instance)
        if entry is None:
            return None
        form = form_of(self.registry.load(entry), self.registry.kinds)
        settings: dict[str, Any] = {}
        for name in form.names:
            if not hasattr(instance, name):
                return None
            settings[name] = getattr(instance, name)
        try:
            plain = form.model.model_validate({n: settings[n] for n in form.model.model_fields})
        except ValidationError:
            return None
        settings.update(_values(plain))
        for name, slot in form.slots.items():
            inner = settings[name]
            items = inner if slot.many else [inner]
            described = [
                None if item is None else self.describe(slot.kind, item) or _unregistered(slot.kind, item)
                for item in items
            ]
            settings[name] = described if slot.many else described[0]
        return Choice(kind, entry, settings, instance, self.registry.name_of(entry))

    def _plain(self, model: type[BaseModel], given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        try:
            values = _values(model.model_validate(given))
            for name in given:
                if _is_made_a_number(given[name], values[name]):
                    self.problem(f"{prefix}{name}", f"takes numbers, not true or false; got {given[name]!r}")
            return values
        except ValidationError as error:
            items = error.errors(include_url=False)
            for name in given:  # a union tells what each of its types says
                said = [_in_words(item).partition("; got")[0] for item in items if item["loc"][:1] == (name,)]
                hint = model.model_fields[name].annotation
                if said and _is_union(hint):
                    text = f"{' or '.join(dict.fromkeys(said))}{_or_null(hint)}"
                    self.problem(f"{prefix}{name}", f"{text}; got {given[name]!r}")
                    items = [item for item in items if item["loc"][:1] != (name,)]
            for item in items:
                where = prefix + ".".join(str(part) for part in item["loc"])
                field = model.model_fields.get(str(item["loc"][0])) if len(item["loc"]) == 1 else None
                self.problem(where, _in_words(item, _or_null(field.annotation) if field else ""))
            return {}

    def _is_beyond_words(self, slot: Slot) -> bool:
        """Whether a slot's default is an object whose settings cannot be read back: then the constructor keeps it."""
        if slot.many or slot.default is REQUIRED or slot.default is None or isinstance(slot.default, str):
            return False
        return self.describe(slot.kind, slot.default) is None

    def _default_name(self, slot: Slot) -> dict[str, str]:
        """The component that settings without a name belong to: the slot's default, else that of its kind."""
        if isinstance(slot.default, str):
            return {"name": slot.default}
        default = self.registry.entry_of(slot.kind, slot.default) or self.registry.default(slot.kind)
        return {"name": default.qualified} if default else {}

    def _required(self, kind: str) -> str:
        names = self._names(kind)
        return f"is required; choose from: {', '.join(names)}" if names else f"is required; no plugin provides a {kind}"

    def _names(self, kind: str) -> list[str]:
        return sorted({entry.component.name for entry in self.registry if entry.component.kind == kind})


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 and "\n" not in text else f"a {type(value).__name__}"


def _unregistered(kind: str, instance: Any) -> Choice:
    return Choice(kind, None, {}, instance, type(instance).__name__)


def _values(model: BaseModel) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}


def _is_union(hint: Any) -> bool:
    types = [choice for choice in get_args(hint) if choice is not type(None)]
    return get_origin(hint) in (Union, UnionType) and len(types) > 1


def _is_made_a_number(given: Any, value: Any) -> bool:
    """Whether pydantic has taken a truth value, such as YAML's `yes`, for 1 or 0, there or in a list."""
    if isinstance(given, list) and isinstance(value, (list, tuple)):
        return any(_is_made_a_number(*pair) for pair in zip(given, value, strict=False))
    return isinstance(given, bool) and isinstance(value, (int, float)) and not isinstance(value, bool)


def _or_null(hint: Any) -> str:
    return " or null" if type(None) in get_args(hint) else ""


def _in_words(item: Any, or_null: str = "") -> str:
    if item["type"] == "missing":
        return "is required"
    if item["type"] in ("bool_parsing", "bool_type"):
        return f"should be true or false{or_null}; got {item['input']!r}"
    message = item["msg"].removeprefix("Value error, ").partition(", unable to")[0]
    message = message[0].lower() + message[1:]
    return f"{message.replace('input should', 'should')}{or_null}; got {item['input']!r}"
