"""What variants are filtered by: their options, their attributes, and those of their product that they don't have."""

from __future__ import annotations

import decimal
import functools
import hashlib
import re
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from services.inventory.domain import catalog
from services.inventory.domain import catalog_codes as codes

Wanted: TypeAlias = tuple[frozenset[str], ...]
"""Of each set one feature: those of one name are alternatives."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")
_DIGEST_BYTES = 8


def check_attributes(attributes: catalog.Attributes, wrong: catalog.Violations, path: str = "") -> None:
    """Adds what is wrong with attributes, below the field `<path>attributes`."""
    for index in catalog.duplicates([codes.folded(name) for name, _ in attributes]):
        wrong.add(f"{path}attributes[{index}].name", "is there twice")
    for index, (name, value) in enumerate(attributes):
        if "\0" in f"{name}{value}":
            wrong.add(f"{path}attributes[{index}]", "has a NUL character")
        if not codes.folded(name) or not value_key(value):
            wrong.add(f"{path}attributes[{index}]", "has a name or a value that is blank")


def value_key(value: catalog.AttributeValue) -> str:
    """What values are compared by: numbers by value however they are written, texts without regard to case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = codes.folded(value) if isinstance(value, str) else repr(value)
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        return text
    number = format(decimal.Decimal(text), "f")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return _unsigned(number)


def _unsigned(number: str) -> str:
    """Without signs and zeros that say nothing."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number.lstrip("+"))
    whole, point, rest = digits.partition(".")
    digits = f"{whole.lstrip('0') or '0'}{point}{rest}"
    return digits if digits == "0" else sign + digits


@functools.lru_cache(maxsize=4096, typed=True)  # they repeat; typed, since True equals 1.0
def feature(name: str, value: catalog.AttributeValue) -> str:
    """An option or an attribute as it is compared."""
    return f"{codes.folded(name)}={value_key(value)}"


def features(shared: catalog.Attributes, variant: catalog.VariantDraft) -> frozenset[str]:
    """All of a variant. shared: the attributes of its product."""
    own = {codes.folded(name) for name, _ in variant.attributes}
    inherited = [(name, value) for name, value in shared if codes.folded(name) not in own]
    return frozenset(feature(*pair) for pair in (*variant.options, *variant.attributes, *inherited))


def wanted(filters: Iterable[str]) -> Wanted:
    """What filters of the form `name=value` ask for."""
    by_name: dict[str, set[str]] = {}
    for each in filters:
        name, _, value = each.partition("=")
        by_name.setdefault(codes.folded(name), set()).add(feature(name, value))
    return tuple(map(frozenset, by_name.values()))


def has(found: AbstractSet[str], asked: Wanted) -> bool:
    """Whether features include what is asked for."""
    return all(not alternatives.isdisjoint(found) for alternatives in asked)


@functools.lru_cache(maxsize=4096)
def lexeme(tenant: str, each: str) -> str:
    """A feature in the word index: behind the tenant's tag a `=`, which no word has, and a digest of fixed length."""
    return f"{codes.tag(tenant)}={hashlib.blake2b(each.encode(), digest_size=_DIGEST_BYTES).hexdigest()}"


def query(tenant: str, asked: Collection[Collection[str]]) -> str | None:
    """What is asked for as PostgreSQL's text of a tsquery; None: nothing."""
    groups = (" | ".join(f"'{lexeme(tenant, each)}'" for each in sorted(group)) for group in asked)
    return " & ".join(f"({group})" for group in groups) or None
