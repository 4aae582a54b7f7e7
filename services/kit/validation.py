"""The rules of the contract (protovalidate), applied to requests. Rules stand in the protos and nowhere else.

An interceptor checks each request. What the contract leaves to the mapping (`ignore: IGNORE_ALWAYS`) is checked there:
an edited resource by its mask, lines that are judged each by itself with `each`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import protovalidate
from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.kit import errors

M = TypeVar("M", bound=Message)
T = TypeVar("T")
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


def instant(message: Any, field: str) -> dt.datetime | None:
    """An optional timestamp of a request, aware UTC; None: not set. InvalidRequest when it is no point in time."""
    if not message.HasField(field):
        return None
    try:
        moment: dt.datetime = getattr(message, field).ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise invalid(field, "is not a point in time") from None
    return moment


def is_judged_by_item(field: FieldDescriptor) -> bool:
    """Whether the contract has the items of a list judged each by itself: `repeated.items.ignore = IGNORE_ALWAYS`.

    Rules of the list itself (how many) still refuse the request.
    """
    rules = field.GetOptions().Extensions[validate_pb2.field].repeated.items
    return bool(field.is_repeated) and rules.ignore == validate_pb2.IGNORE_ALWAYS


def each(items: Iterable[M], translate: Callable[[M], T]) -> list[T | errors.Error]:
    """Translates the items of such a list, in order; one that breaks a rule, or that translate refuses, is its error.

    Paths of what is wrong begin at the item: `quantity`, not `lines[2].quantity`.
    """
    outcomes: list[T | errors.Error] = []
    for item in items:
        try:
            check(item)
            outcomes.append(translate(item))
        except errors.Error as refusal:
            outcomes.append(refusal)
    return outcomes


def warm_up(requests: Iterable[Descriptor]) -> None:
    """Compiles the rules of request types, which takes milliseconds each: at start rather than in the first call."""
    for descriptor in requests:
        items = [field.message_type for field in descriptor.fields if is_judged_by_item(field)]
        for each_type in (descriptor, *filter(None, items)):
            _collect(message_factory.GetMessageClass(each_type)())


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
