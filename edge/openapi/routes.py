"""`google.api.http` rules as Envoy's transcoder reads them: bindings, path variables and what the query carries."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from edge.openapi import schemas, source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

_VARIABLE = re.compile(r"\{([^}=]+)(?:=([^}]*))?\}")
_LABEL = re.compile(r"\{([^}]+)\}")
_QUERY_DEPTH_MAX = 4  # Filters nest once or twice; a message that contains itself would never end.


@dataclasses.dataclass(frozen=True)
class Binding:
    """One method and path of an rpc. ``variables`` are field paths; ``body`` is "*", a field or ""."""

    verb: str
    path: str
    variables: tuple[str, ...]
    many_segments: tuple[str, ...]
    body: str
    number: int

    @property
    def shape(self) -> str:
        """The path without names: what Envoy tells paths apart by."""
        return _LABEL.sub("{}", self.path)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the path's variables, as the document shows them."""
        return tuple(_LABEL.findall(self.path))


def bindings(contract: source.Source, method: MethodDescriptor) -> list[Binding]:
    """The rpc's bindings, the first one first; none when the rpc isn't exposed over REST."""
    rule = contract.option(method, source.HTTP)
    if rule is None:
        return []
    return [_binding(method, each, number) for number, each in enumerate([rule, *rule.additional_bindings])]


def _binding(method: MethodDescriptor, rule: Any, number: int) -> Binding:
    pattern = rule.WhichOneof("pattern")
    if pattern is None:
        raise ValueError(f"{method.full_name}: an http rule has no path")
    if rule.response_body and method.output_type.full_name != schemas.HTTP_BODY:
        raise ValueError(f"{method.full_name}: Envoy supports response_body for google.api.HttpBody only")
    custom = pattern == "custom"
    template = rule.custom.path if custom else getattr(rule, pattern)
    found = _VARIABLE.findall(template)
    return Binding(
        verb=(rule.custom.kind if custom else pattern).lower(),
        path=_VARIABLE.sub(lambda variable: "{" + variable.group(1).replace(".", "_") + "}", template),
        variables=tuple(name for name, _ in found),
        many_segments=tuple(name for name, segments in found if "**" in segments or "/" in segments),
        body=rule.body,
        number=number,
    )


def field_at(message: Descriptor, path: str) -> FieldDescriptor:
    """The field at a dotted path. Raises ValueError when there is none."""
    head, _, rest = path.partition(".")
    field = message.fields_by_name.get(head)
    if field is None:
        raise ValueError(f"{message.full_name} has no field {path}")
    if not rest:
        return field
    if field.message_type is None:
        raise ValueError(f"{field.full_name} is not a message, so it has no field {rest}")
    return field_at(field.message_type, rest)


def query_fields(message: Descriptor, binding: Binding) -> Iterator[tuple[str, FieldDescriptor]]:
    """Dotted name and field of what a caller may put in the query: all that neither path nor body carries."""
    if binding.body == "*":
        return
    taken = {*binding.variables, binding.body}
    yield from _flattened(message, "", taken, _QUERY_DEPTH_MAX)


def _flattened(message: Descriptor, prefix: str, taken: set[str], depth: int) -> Iterator[tuple[str, FieldDescriptor]]:
    for field in message.fields:
        name = prefix + field.name
        if name in taken or schemas.is_map(field):
            continue
        nested = field.message_type
        if nested is None or nested.full_name in schemas.WELL_KNOWN:
            yield name, field
        elif not field.is_repeated and nested.full_name != schemas.HTTP_BODY and depth:
            yield from _flattened(nested, f"{name}.", taken, depth - 1)
