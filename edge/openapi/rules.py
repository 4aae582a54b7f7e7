"""What buf.validate says of a field, as JSON Schema keywords where there is one, else as a sentence.

Only reads rules; which schema they end up in is decided in `schemas`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

_LONG = ("int64", "uint64", "sint64", "fixed64", "sfixed64")
_NUMBERS = (*_LONG, "int32", "uint32", "sint32", "fixed32", "sfixed32", "float", "double")
_BOUNDS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_BOUND_WORDS = {"gte": "at least", "gt": "more than", "lte": "at most", "lt": "less than"}
_FORMATS = {"uuid": "uuid", "email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6", "uri": "uri"}
_SIZES = {
    "string": {"min_len": "minLength", "max_len": "maxLength"},
    "repeated": {"min_items": "minItems", "max_items": "maxItems"},
    "map": {"min_pairs": "minProperties", "max_pairs": "maxProperties"},
}


@dataclasses.dataclass
class Reading:
    """Rules of one field. ``refuses_zero``: an absent field (proto3's zero value) breaks them, so it is needed."""

    keywords: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    items: Reading | None = None
    excluded_numbers: tuple[int, ...] = ()
    refuses_zero: bool = False
    ignored: bool = False


def read(rules: Any | None) -> Reading:
    """The rules of a field (buf.validate.FieldRules), None for none."""
    reading = Reading()
    if rules is None:
        return reading
    reading.notes += [rule.message for rule in rules.cel if rule.message]
    kind = rules.WhichOneof("type")
    if kind is not None:
        _read_kind(kind, getattr(rules, kind), reading)
    ignore = rules.DESCRIPTOR.fields_by_name["ignore"].enum_type.values_by_number[rules.ignore].name
    if ignore == "IGNORE_ALWAYS":
        return Reading(ignored=True)
    reading.refuses_zero = rules.required or (reading.refuses_zero and ignore != "IGNORE_IF_ZERO_VALUE")
    return reading


def _read_kind(kind: str, rule: Any, reading: Reading) -> None:
    for name, keyword in _SIZES.get(kind, {}).items():
        if rule.HasField(name):
            reading.keywords[keyword] = getattr(rule, name)
            reading.refuses_zero |= name.startswith("min_") and getattr(rule, name) > 0
    if kind in _NUMBERS:
        _read_number(kind, rule, reading)
    elif kind == "string":
        _read_string(rule, reading)
    elif kind == "repeated":
        _read_repeated(rule, reading)
    elif kind == "map":
        reading.items = read(rule.values) if rule.HasField("values") else None
    elif kind == "enum":
        _read_enum(rule, reading)
    elif kind == "duration":
        _read_duration(rule, reading)
    elif kind == "field_mask":
        paths = ", ".join(f"`{path}`" for path in getattr(rule, "in"))
        reading.notes += [f"Paths: {paths}"] if paths else []


def _read_number(kind: str, rule: Any, reading: Reading) -> None:
    given = {name: getattr(rule, name) for name in _BOUNDS if rule.HasField(name)}
    if kind in _LONG:  # JSON carries them as strings, which minimum and maximum don't apply to.
        said = " and ".join(f"{_BOUND_WORDS[name]} {value}" for name, value in given.items())
        reading.notes += [said] if said else []
        if given.get("gte", given.get("gt", -1)) >= 0:
            reading.keywords["pattern"] = "^[0-9]{1,20}$"
    else:
        reading.keywords |= {_BOUNDS[name]: value for name, value in given.items()}
    allowed = list(getattr(rule, "in"))
    if allowed:
        reading.keywords["enum"] = [str(value) for value in allowed] if kind in _LONG else allowed
    low, strict_low = given.get("gte", float("-inf")), given.get("gt", float("-inf"))
    high, strict_high = given.get("lte", float("inf")), given.get("lt", float("inf"))
    refused = low > 0 or strict_low >= 0 or high < 0 or strict_high <= 0
    reading.refuses_zero |= refused or bool(allowed and 0 not in allowed) or 0 in rule.not_in


def _read_string(rule: Any, reading: Reading) -> None:
    if rule.HasField("len"):
        reading.keywords |= {"minLength": rule.len, "maxLength": rule.len}
        reading.refuses_zero |= rule.len > 0
    if rule.HasField("pattern"):
        portable = rule.pattern.replace(r"\z", "$").replace(r"\A", "^")
        if "(?" not in portable and r"\p" not in portable:  # RE2 only: would mean something else to JSON Schema.
            reading.keywords["pattern"] = portable
            reading.refuses_zero |= re.search(portable, "") is None
    if rule.HasField("const"):
        reading.keywords["const"] = rule.const
        reading.refuses_zero |= rule.const != ""
    known = rule.WhichOneof("well_known")
    if known in _FORMATS and getattr(rule, known):
        reading.keywords["format"] = _FORMATS[known]
        reading.refuses_zero = True
    allowed = list(getattr(rule, "in"))
    if allowed:
        reading.keywords["enum"] = allowed
        reading.refuses_zero |= "" not in allowed


def _read_repeated(rule: Any, reading: Reading) -> None:
    if rule.unique:
        reading.keywords["uniqueItems"] = True
    if rule.HasField("items"):
        reading.items = read(rule.items)


def _read_enum(rule: Any, reading: Reading) -> None:
    reading.excluded_numbers = tuple(rule.not_in)
    allowed = list(getattr(rule, "in"))
    reading.refuses_zero |= 0 in rule.not_in or bool(allowed and 0 not in allowed)


def _read_duration(rule: Any, reading: Reading) -> None:
    for name, word in _BOUND_WORDS.items():
        if rule.HasField(name):
            value = getattr(rule, name)
            reading.notes.append(f"{word} {value.seconds + value.nanos / 1e9:g}s")
