"""The rules of the contract (protovalidate), applied to requests. Rules stand in the protos and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from services.kit import errors

_collect = protovalidate.collect_violations


def check(message: Message) -> None:
    """Raises InvalidRequest that lists every broken rule."""
    found = _collect(message)
    if found:
        raise errors.InvalidRequest(violations=[_violation(each) for each in found])


def check_masked(message: Message, mask_paths: Iterable[str], prefix: str = "") -> None:
    """Checks the fields of an embedded resource that an update mask names, and nothing else of it.

    prefix: the field that holds the resource, e.g. `location`, for the paths that are told. Name identifying fields too
    where they are needed: `check_masked(request.location, ["id", *request.update_mask.paths], "location")`.
    """
    wanted = tuple(mask_paths)
    broken = []
    for each in _collect(message):
        violation = _violation(each)
        if _under(violation.field, wanted):
            field = f"{prefix}.{violation.field}" if prefix else violation.field
            broken.append(errors.FieldViolation(field, violation.description))
    if broken:
        raise errors.InvalidRequest(violations=broken)


def _under(path: str, wanted: Sequence[str]) -> bool:
    return any(path == mask or path.startswith((f"{mask}.", f"{mask}[")) for mask in wanted)


def invalid(field: str, description: str) -> errors.InvalidRequest:
    """For the rules that only code can check."""
    return errors.InvalidRequest(violations=[errors.FieldViolation(field, description)])


def warm_up(requests: Iterable[Descriptor]) -> None:
    """Compiles the rules of request types, which takes milliseconds each: at start rather than in the first call."""
    for descriptor in requests:
        _collect(message_factory.GetMessageClass(descriptor)())


def _violation(found: protovalidate.Violation) -> errors.FieldViolation:
    proto = found.proto
    elements = proto.field.elements if proto.field is not None else ()
    path = ".".join(_element(element) for element in elements)
    return errors.FieldViolation(path, proto.message or proto.rule_id)


def _element(element: Any) -> str:
    """One step of a path: `lines[2]`, `options["size"]`, `quantity`."""
    subscript = element.subscript
    if subscript is None:
        return str(element.field_name)
    value = f'"{subscript.value}"' if isinstance(subscript.value, str) else str(subscript.value).lower()
    return f"{element.field_name}[{value}]"
