"""The JSON Schema of a configuration, made of all that is installed: what editors complete and check with.

It describes what `read_config` reads. Every component has one definition, `kind.name`; a kind is the union of the
names and of the mappings of its components. Where the two differ, the reader is the more lenient: it takes the text
"3" for the number 3, as pydantic does.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ..errors import FlowkitError
from ..plugins.manager import PluginManager, installed_plugins
from ..plugins.registry import Entry, Registry
from .config import COMPONENTS
from .docstring import arguments_of, first_paragraph
from .form import REQUIRED, Form, Slot, form_of
from .sections import FORMS

__all__ = ["MODELINE", "json_schema", "schema_and_failures"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELINE = "# yaml-language-server: $schema={}"
"""The first line of a YAML file that tells editors which schema it follows."""

Json = dict[str, Any]


def json_schema(plugins: PluginManager | None = None) -> Json:
    """The JSON Schema of a configuration. Components that cannot be loaded are left out.

    Arguments:
        plugins: Whose components; the installed plugins by default.

    Examples:
        >>> json_schema()["$defs"]["network.mlp"]["properties"]["width"]["default"]
        128
    """
    return schema_and_failures(plugins or installed_plugins())[0]


def schema_and_failures(plugins: PluginManager) -> tuple[Json, list[str]]:
    """The JSON Schema, and a sentence for every component that is left out."""
    schema = _Schema(plugins.registry)
    return schema.whole(), schema.failures


class _Schema:
    """The definitions, gathered kind by kind."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.failures: list[str] = []
        self.definitions: dict[str, Any] = {}
        self.forms = {kind: self._forms(kind) for kind in registry.kinds}
        for kind, forms in self.forms.items():
            self.definitions[kind] = self._union(kind)
            for entry, form in forms.items():
                self.definitions[self.key(entry)] = self._component(entry, form)

    def whole(self) -> Json:
        properties = {kind: self._section(kind) for kind in COMPONENTS}
        settings = {section: _properties(form, self) for section, form in FORMS.items()}
        for kind in ("integrator", "grid"):  # what the reader fills in
            settings["sampling"][kind] = self._section(kind)
        sections = {section: _or_null(_mapping(properties)) for section, properties in settings.items()} | {
            "callbacks": self.slot(Slot("callback", many=True), "what watches training"),
            "provenance": {"type": "object", "description": "where a stored run came from; written by flowkit"},
        }
        required = [kind for kind in COMPONENTS if kind == "data" or not self._defaults(kind)]
        return {
            "$schema": DIALECT,
            "title": "flowkit configuration",
            "description": "Sections that are left out take the defaults that plugins declare.",
            **_mapping(properties | sections, required),
            "$defs": self.definitions,
        }

    def slot(self, slot: Slot, description: str = "") -> Json:
        """A setting that is a component: a name, a mapping, settings of the default without its name."""
        whole: Json = {"$ref": f"#/$defs/{slot.kind}"}
        choices = [whole]
        if slot.many:
            choices = [{"type": "array", "items": whole}, whole, {"type": "null"}]
        else:
            choices += [self.reference(entry) for entry in self._nameless(slot)]
            choices += [{"type": "null"}] if slot.optional else []
        named = {"default": self._default_name(slot)} if self._default_name(slot) else {}
        described = {"description": description} if description else {}
        return (choices[0] if len(choices) == 1 else {"anyOf": choices}) | described | named

    def key(self, entry: Entry) -> str:
        """What the definition of a component is called."""
        return f"{entry.component.kind}.{self.registry.name_of(entry).replace('/', '.')}"

    def reference(self, entry: Entry) -> Json:
        """Where the definition of a component is."""
        return {"$ref": f"#/$defs/{self.key(entry)}"}

    def _section(self, kind: str) -> Json:
        """A section that is one component, or the default of its kind."""
        described = {"description": self.registry.kinds[kind].summary}
        defaults = self._defaults(kind) if kind != "data" else []
        if not defaults:
            return {"$ref": f"#/$defs/{kind}"} | described
        return {"anyOf": [{"$ref": f"#/$defs/{kind}"}, *map(self.reference, defaults), {"type": "null"}]} | described

    def _forms(self, kind: str) -> dict[Entry, Form]:
        """The components of a kind that can be used, with what may be filled in."""
        found: dict[Entry, Form] = {}
        if kind in self.registry.contested:
            self.failures.append(self.registry.contested[kind])
            return found
        for entry in self.registry.of_kind(kind):
            try:
                self.registry.find(kind, self.registry.name_of(entry))
                form = form_of(self.registry.load(entry), self.registry.kinds)
                _described(form, "")
            except Exception as error:  # also whatever a type of a stranger's raises: it must take nobody down
                known = isinstance(error, FlowkitError)
                self.failures.append(
                    str(error)
                    if known
                    else f"{kind} {entry.qualified} {entry.version}: {type(error).__name__}: {error}"
                )
            else:
                found[entry] = form
        return found

    def _component(self, entry: Entry, form: Form) -> Json:
        """The mapping `{name: ..., **settings}` of one component; the name may be left out where it is the default."""
        component, cls = entry.component, self.registry.load(entry)
        names = dict.fromkeys([self.registry.name_of(entry), entry.qualified])
        name = {"enum": list(names), "description": component.summary}
        properties = {"name": name} | _properties(form, self, arguments_of(cls), f"{self.key(entry)}.")
        deprecated = {"deprecated": True} if "__deprecated__" in vars(cls) else {}
        described = {"description": component.summary or first_paragraph(cls)}
        return described | deprecated | _mapping(properties, _required(form))

    def _union(self, kind: str) -> Any:
        """Every way to choose a component of a kind."""
        forms = self.forms[kind]
        if not forms:
            return False
        bare = [entry for entry, form in forms.items() if not _required(form)]
        words: list[Json] = [
            {"const": self.registry.name_of(entry), "description": entry.component.summary} for entry in bare
        ]
        if bare:  # with their distributions: valid, but nothing that an editor should offer
            qualified = "|".join(re.escape(entry.qualified) for entry in bare)
            words.append({"type": "string", "pattern": f"^({qualified})$"})
        mappings = {"type": "object", "required": ["name"], "oneOf": [self.reference(entry) for entry in forms]}
        return {"description": self.registry.kinds[kind].summary, "anyOf": [*words, mappings]}

    def _defaults(self, kind: str) -> list[Entry]:
        return [entry for entry in self.forms[kind] if entry.component.default_for]

    def _nameless(self, slot: Slot) -> list[Entry]:
        """The component that settings without a name belong to."""
        default = self._default_entry(slot)
        entries = [default] if default else [e for e in self._defaults(slot.kind) if "any" in e.component.default_for]
        return [entry for entry in entries if entry in self.forms[slot.kind]]

    def _default_entry(self, slot: Slot) -> Entry | None:
        if slot.default is REQUIRED or slot.default is None or slot.many:
            return None
        if not isinstance(slot.default, str):
            return self.registry.entry_of(slot.kind, slot.default)
        try:
            return self.registry.find(slot.kind, slot.default)
        except FlowkitError:
            return None

    def _default_name(self, slot: Slot) -> str:
        entry = self._default_entry(slot)
        return self.registry.name_of(entry) if entry else ""


class _Lenient(GenerateJsonSchema):
    """Leaves open what JSON Schema has no words for, and titles away."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _properties(form: Form, schema: _Schema, meanings: Mapping[str, str] | None = None, prefix: str = "") -> Json:
    """The settings of a form; those that are plain values as pydantic describes them."""
    meanings = meanings or {}
    properties: Json = {name: schema.slot(slot, meanings.get(name, slot.meaning)) for name, slot in form.slots.items()}
    plain = _described(form, prefix)
    schema.definitions |= {prefix + name: definition for name, definition in plain.get("$defs", {}).items()}
    for name, setting in plain.get("properties", {}).items():
        described = {"description": meanings[name]} if name in meanings and "description" not in setting else {}
        properties[name] = described | setting
        default = setting.get("default")
        if isinstance(default, float) and not math.isfinite(default):  # JSON has no word for it
            del properties[name]["default"]
    return properties


def _described(form: Form, prefix: str) -> Json:
    """What pydantic says of the plain settings."""
    return form.model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}", schema_generator=_Lenient)


def _required(form: Form) -> list[str]:
    slots = [name for name, slot in form.slots.items() if slot.default is REQUIRED]
    return slots + [name for name, field in form.model.model_fields.items() if field.is_required()]


def _mapping(properties: Mapping[str, Any], required: Iterable[str] = ()) -> Json:
    needs = {"required": list(required)} if required else {}
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **needs}


def _or_null(schema: Json) -> Json:
    """A section may stand there without content."""
    return schema | {"type": ["object", "null"]}
