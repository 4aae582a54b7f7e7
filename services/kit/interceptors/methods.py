"""What is known of a method before it is called, read once from its descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from services.kit import access
from tillmesh.common.v1 import access_pb2

#: Beginnings of the names of methods that change nothing.
READS: Final = ("Get", "List", "Search", "BatchGet", "BatchResolve", "Summarize", "Watch", "Read")


def is_read(name: str) -> bool:
    """Whether a method of this name changes nothing, by the contract's naming."""
    return name.startswith(READS)


@dataclass(frozen=True, slots=True)
class Method:
    """One method."""

    path: str
    """`/package.Service/Method`."""
    name: str
    """`package.Service/Method`."""
    rule: access.Rule
    input: Descriptor | None = None
    reads: bool = False
    is_get: bool = False
    takes_request_id: bool = False
    takes_expected_version: bool = False
    takes_resume_token: bool = False
    answers_version: bool = False
    success_status: int = 0

    @property
    def takes_headers(self) -> bool:
        """Whether any request field is filled from a header."""
        return self.takes_request_id or self.takes_expected_version or self.takes_resume_token


def _find(path: str) -> MethodDescriptor | None:
    try:
        return descriptor_pool.Default().FindMethodByName(path.lstrip("/").replace("/", "."))
    except KeyError:
        return None


def _has(message: Descriptor, name: str, kind: int) -> bool:
    field = message.fields_by_name.get(name)
    return field is not None and field.type == kind and not field.is_repeated


def of(path: str) -> Method:
    """The method at a path. One that no contract declares has the rule that lets nobody in."""
    descriptor = _find(path)
    if descriptor is None:
        return Method(path, path.lstrip("/"), access.rule_of(None))
    request, response = descriptor.input_type, descriptor.output_type
    return Method(
        path,
        path.lstrip("/"),
        access.rule_of(descriptor),
        input=request,
        reads=is_read(descriptor.name),
        is_get=descriptor.name.startswith("Get"),
        takes_request_id=_has(request, "request_id", FieldDescriptor.TYPE_STRING),
        takes_expected_version=_has(request, "expected_version", FieldDescriptor.TYPE_INT64),
        takes_resume_token=_has(request, "resume_token", FieldDescriptor.TYPE_STRING),
        answers_version=_has(response, "version", FieldDescriptor.TYPE_INT64),
        success_status=descriptor.GetOptions().Extensions[access_pb2.rest].success_status,
    )
