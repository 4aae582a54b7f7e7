"""Messages and enums as JSON Schema components, as Envoy prints and reads them.

Proto names, 64-bit integers and bytes as strings, enums by name, well-known types in their JSON forms.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from edge.openapi import rules, source

if TYPE_CHECKING:
    from collections.abc import Collection

Schema = dict[str, Any]

STATUS = "google.rpc.Status"
REASONS = "tillmesh.common.v1.ErrorReason"
ERROR_DETAILS = ("google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo")

_LONG: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}
_ULONG: Schema = {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"}
_SCALARS: dict[int, Schema] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT64: _LONG,
    FieldDescriptor.TYPE_SINT64: _LONG,
    FieldDescriptor.TYPE_SFIXED64: _LONG,
    FieldDescriptor.TYPE_UINT64: _ULONG,
    FieldDescriptor.TYPE_FIXED64: _ULONG,
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.TYPE_FIXED32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte", "contentEncoding": "base64"},
}
_DURATION: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["900s"]}
_FIELD_MASK: Schema = {"type": "string", "description": "Names of fields, separated by commas."}
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": _DURATION,
    "google.protobuf.FieldMask": _FIELD_MASK,
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
    "google.protobuf.DoubleValue": {"type": ["number", "null"]},
    "google.protobuf.FloatValue": {"type": ["number", "null"]},
    "google.protobuf.Int64Value": {"type": ["string", "null"], "format": "int64"},
    "google.protobuf.UInt64Value": {"type": ["string", "null"], "format": "uint64"},
    "google.protobuf.Int32Value": {"type": ["integer", "null"], "format": "int32"},
    "google.protobuf.UInt32Value": {"type": ["integer", "null"], "format": "int64", "minimum": 0},
    "google.protobuf.BoolValue": {"type": ["boolean", "null"]},
    "google.protobuf.StringValue": {"type": ["string", "null"]},
    "google.protobuf.BytesValue": {"type": ["string", "null"], "format": "byte"},
}
HTTP_BODY = "google.api.HttpBody"
_BINARY: Schema = {"type": "string", "format": "binary"}


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


class Schemas:
    """Components that have been asked for, with everything they refer to."""

    def __init__(self, contract: source.Source) -> None:
        self._source = contract
        self.components: dict[str, Schema] = {}

    @staticmethod
    def name(full_name: str) -> str:
        """Component name: the full name without our own prefix."""
        return full_name.removeprefix("tillmesh.")

    def reading(self, field: FieldDescriptor) -> rules.Reading:
        """The field's rules."""
        return rules.read(self._source.option(field, source.RULES_FIELD))

    def message(self, message: Descriptor, partial: bool = False) -> Schema:
        """A reference to the message. ``partial``: nothing in it is required (a masked edit)."""
        if message.full_name in WELL_KNOWN:
            return WELL_KNOWN[message.full_name]
        if message.full_name == HTTP_BODY:
            return _BINARY
        name = self.name(message.full_name) + (".Partial" if partial else "")
        if name not in self.components:
            self.components[name] = {}  # Before going deeper: a message may contain itself.
            made = self.status() if message.full_name == STATUS else self.object(message)
            if partial:
                made.pop("required", None)
            self.components[name] = made
        return {"$ref": f"#/components/schemas/{name}"}

    def object(self, message: Descriptor, without: Collection[str] = ()) -> Schema:
        """The message as an object, less some fields (those a path binds)."""
        fields = [field for field in message.fields if field.name not in without]
        required = [field.name for field in fields if self.is_required(field)]
        notes = [f"{rule.message}." for rule in getattr(self._message_rules(message), "cel", ()) if rule.message]
        choices = [self._choice(oneof) for oneof in message.oneofs if self._is_choice(oneof, without)]
        notes += [note for note, _ in choices]
        description = source.join(self._source.comment(message), " ".join(sentence(note) for note in notes))
        schema: Schema = {"type": "object", "description": description} if description else {"type": "object"}
        schema["properties"] = {field.name: self.field(field) for field in fields}
        needed = [exactly_one for _, exactly_one in choices if exactly_one]
        return schema | ({"required": required} if required else {}) | ({"allOf": needed} if needed else {})

    def _message_rules(self, message: Descriptor) -> Any:
        return self._source.option(message, source.RULES_MESSAGE)

    @staticmethod
    def _is_choice(oneof: Any, without: Collection[str]) -> bool:
        """A oneof that was written as such: proto3 optional makes hidden ones of a single field."""
        return len(oneof.fields) > 1 and not any(field.name in without for field in oneof.fields)

    def _choice(self, oneof: Any) -> tuple[str, Schema | None]:
        names = [field.name for field in oneof.fields]
        listed = ", ".join(f"`{name}`" for name in names)
        rule = self._source.option(oneof, source.RULES_ONEOF)
        if rule is not None and rule.required:
            return f"Exactly one of {listed}.", {"oneOf": [{"required": [name]} for name in names]}
        return f"At most one of {listed}.", None

    def is_required(self, field: FieldDescriptor) -> bool:
        """Whether leaving the field out of a request breaks a rule."""
        behaviors = self._behaviors(field)
        return "REQUIRED" in behaviors or (self.reading(field).refuses_zero and not self._has_default(field))

    def _has_default(self, field: FieldDescriptor) -> bool:
        """Fields with presence are only checked when they are set, unless the rule says `required`."""
        rule = self._source.option(field, source.RULES_FIELD)
        return field.has_presence and not (rule is not None and rule.required)

    def _behaviors(self, field: FieldDescriptor) -> set[str]:
        values = self._source.option(field, source.FIELD_BEHAVIOR) or ()
        # field_behavior is an open list of numbers; 2 and 3 are fixed by google/api/field_behavior.proto.
        names = {2: "REQUIRED", 3: "OUTPUT_ONLY", 4: "INPUT_ONLY", 5: "IMMUTABLE"}
        return {names.get(number, "") for number in values}

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field, with its rules and comment."""
        reading = self.reading(field)
        inner = reading.items or rules.Reading()
        if field.message_type is not None and is_map(field):
            values = self._value(field.message_type.fields_by_name["value"], inner)
            schema = {"type": "object", "additionalProperties": values, **reading.keywords}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._value(field, inner), **reading.keywords}
        else:
            schema = self._value(field, reading)
        return schema | self._annotations(field, reading)

    def _value(self, field: FieldDescriptor, reading: rules.Reading) -> Schema:
        """One value of the field, whether it is repeated or not."""
        if field.enum_type is not None:
            return self.enum(field.enum_type) | self._exclusion(field.enum_type, reading.excluded_numbers)
        if field.message_type is not None:
            return dict(self.message(field.message_type, partial=reading.ignored))
        return _SCALARS[field.type] | reading.keywords

    @staticmethod
    def _exclusion(enum: EnumDescriptor, numbers: tuple[int, ...]) -> Schema:
        names = [enum.values_by_number[number].name for number in numbers if number in enum.values_by_number]
        return {"not": {"enum": names}} if names else {}

    def _annotations(self, field: FieldDescriptor, reading: rules.Reading) -> Schema:
        comment = self._source.comment(field)
        behaviors = self._behaviors(field)
        said = source.join(comment, " ".join(sentence(note) for note in reading.notes))
        schema: Schema = {"description": said} if said else {}
        if "OUTPUT_ONLY" in behaviors or re.search(r"\boutput only\b", comment, re.IGNORECASE):
            schema["readOnly"] = True
        if "INPUT_ONLY" in behaviors:
            schema["writeOnly"] = True
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def enum(self, enum: EnumDescriptor) -> Schema:
        """A reference to the enum."""
        name = self.name(enum.full_name)
        if name not in self.components:
            lines = [f"- `{value.name}`: {self._source.comment(value)}".rstrip(": ") for value in enum.values]
            self.components[name] = {
                "type": "string",
                "description": source.join(self._source.comment(enum), "\n".join(lines)),
                "enum": [value.name for value in enum.values],
            }
        return {"$ref": f"#/components/schemas/{name}"}

    def status(self) -> Schema:
        """google.rpc.Status as this deployment uses it: ErrorInfo first, then what helps."""
        details = [self.detail(message) for message in self._detail_messages()]
        return {
            "type": "object",
            "description": "Every error, of a service and of the edge alike. Switch on the reason, not on the message.",
            "properties": {
                "code": {"type": "integer", "format": "int32", "description": "google.rpc.Code."},
                "message": {"type": "string", "description": "For people; may change."},
                "details": {"type": "array", "items": {"anyOf": [*details, WELL_KNOWN["google.protobuf.Any"]]}},
            },
            "required": ["code", "message", "details"],
        }

    def _detail_messages(self) -> list[str]:
        """ErrorInfo and its like, and messages of ours that the comments of the reasons name."""
        reasons = self._source.enum(REASONS)
        said = " ".join(self._source.comment(value) for value in reasons.values) if reasons else ""
        words = set(re.findall(r"[A-Z][A-Za-z]+", said))
        known = {message.full_name: message for message in self._source.messages() if message.name in words}
        for message in known.values():
            self.message(message)
        return [*ERROR_DETAILS, *sorted(known)]

    def detail(self, full_name: str) -> Schema:
        """An error detail: the message's JSON and its type URL."""
        type_url: Schema = {"type": "string", "const": f"type.googleapis.com/{full_name}"}
        shape = _GOOGLE_DETAILS.get(full_name)
        if full_name == "google.rpc.ErrorInfo":
            shape = {"reason": self._reason(), **_ERROR_INFO}
        if shape is not None:
            return {"type": "object", "properties": {"@type": type_url, **shape}, "required": ["@type"]}
        reference = {"$ref": f"#/components/schemas/{self.name(full_name)}"}
        return {"allOf": [reference, {"properties": {"@type": type_url}, "required": ["@type"]}]}

    def _reason(self) -> Schema:
        reasons = self._source.enum(REASONS)
        if reasons is None:
            return {"type": "string"}
        prefix = "ERROR_REASON_"
        values = [value for value in reasons.values if value.number]
        lines = [f"- `{v.name.removeprefix(prefix)}`: {self._source.comment(v)}".rstrip(": ") for v in values]
        self.components[self.name(REASONS)] = {
            "type": "string",
            "description": source.join("Why a call failed. New reasons may be added.", "\n".join(lines)),
            "examples": [value.name.removeprefix(prefix) for value in values[:1]],
            "x-extensible-enum": [value.name.removeprefix(prefix) for value in values],
        }
        return {"$ref": f"#/components/schemas/{self.name(REASONS)}"}


def sentence(note: str) -> str:
    """A note with a capital and a full stop."""
    return note[:1].upper() + note[1:].rstrip(".") + "."


_ERROR_INFO: Schema = {
    "domain": {"type": "string", "const": "tillmesh"},
    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
}
_VIOLATION: Schema = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("field", "description", "reason")},
}
_GOOGLE_DETAILS: dict[str, Schema] = {
    "google.rpc.BadRequest": {"field_violations": {"type": "array", "items": _VIOLATION}},
    "google.rpc.RetryInfo": {"retry_delay": _DURATION},
}
