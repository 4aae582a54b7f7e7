"""The descriptor set, with comments and options that can be asked for by descriptor.

Options are read with classes made from the set itself, so the generator needs no generated stubs and works on any
contract. How anything looks in OpenAPI doesn't belong here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

AnyDescriptor = (
    Descriptor
    | EnumDescriptor
    | EnumValueDescriptor
    | FieldDescriptor
    | FileDescriptor
    | MethodDescriptor
    | OneofDescriptor
    | ServiceDescriptor
)

HTTP = "google.api.http"
FIELD_BEHAVIOR = "google.api.field_behavior"
ACCESS = "tillmesh.common.v1.access"
REST = "tillmesh.common.v1.rest"
RULES_FIELD = "buf.validate.field"
RULES_MESSAGE = "buf.validate.message"
RULES_ONEOF = "buf.validate.oneof"

# The fields of descriptor.proto that lead to something with a name: message, enum, service; nested and members.
_FILE_CHILDREN = {4: "message_type", 5: "enum_type", 6: "service"}
_CHILDREN: dict[str, dict[int, str]] = {
    "DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type", 8: "oneof_decl"},
    "EnumDescriptorProto": {2: "value"},
    "ServiceDescriptorProto": {2: "method"},
    "FileDescriptorProto": _FILE_CHILDREN,
}


class Source:
    """A descriptor set that was built with source info."""

    def __init__(self, descriptor_set: bytes) -> None:
        """Raises google.protobuf.message.DecodeError when the bytes aren't a descriptor set."""
        self._files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
        self._pool = descriptor_pool.DescriptorPool()
        for file in self._files:
            self._pool.Add(file)
        self._comments: dict[str, str] = {}
        for file in self._files:
            self._read_comments(file)

    def _read_comments(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        for location in file.source_code_info.location:
            name = _name_at(file, list(location.path))
            if name and location.leading_comments:
                self._comments[name] = clean(location.leading_comments)

    def services(self) -> Iterator[ServiceDescriptor]:
        """Every service of the set, by full name."""
        names = [f"{file.package}.{service.name}" for file in self._files for service in file.service]
        return (self._pool.FindServiceByName(name) for name in sorted(names))

    def messages(self) -> Iterator[Descriptor]:
        """Every top-level message outside google.* and buf.*, by full name."""
        ours = [file for file in self._files if not file.package.startswith(("google.", "buf."))]
        names = [f"{file.package}.{message.name}" for file in ours for message in file.message_type]
        return (self._pool.FindMessageTypeByName(name) for name in sorted(names))

    def enum(self, full_name: str) -> EnumDescriptor | None:
        """The enum of that name, if the set has it."""
        try:
            return self._pool.FindEnumTypeByName(full_name)
        except KeyError:
            return None

    def comment(self, descriptor: AnyDescriptor) -> str:
        """The leading comment, paragraphs separated by an empty line; "" when there is none."""
        if isinstance(descriptor, EnumValueDescriptor):
            return self._comments.get(f"{descriptor.type.full_name}#{descriptor.name}", "")
        return self._comments.get(str(descriptor.full_name), "")  # type: ignore[union-attr]

    def option(self, descriptor: AnyDescriptor, extension: str) -> Any:
        """The value of a custom option, None when it isn't set or the set doesn't know it."""
        raw = descriptor.GetOptions()
        try:
            known = self._pool.FindExtensionByName(extension)
            options_type = self._pool.FindMessageTypeByName(raw.DESCRIPTOR.full_name)
        except KeyError:
            return None
        options: Any = message_factory.GetMessageClass(options_type).FromString(raw.SerializeToString())
        values: Any = options.Extensions[known]
        if known.is_repeated:
            return values or None
        return values if options.HasExtension(known) else None


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> str | None:
    """The full name of what stands at a path of SourceCodeInfo; enum values as ``Enum#VALUE``."""
    node: Any = file
    name = file.package
    while path:
        children = _CHILDREN.get(type(node).__name__, {}).get(path[0])
        if children is None or len(path) < 2:
            return None
        node = getattr(node, children)[path[1]]
        joint = "#" if isinstance(node, descriptor_pb2.EnumValueDescriptorProto) else "."
        name, path = f"{name}{joint}{node.name}", path[2:]
    return name


def clean(comment: str) -> str:
    """Comment text: lines of a paragraph are one, list items keep theirs, linter directives go."""
    lines = [line.strip() for line in comment.strip().splitlines()]
    lines = [line for line in lines if not line.startswith(("buf:lint:", "@exclude"))]
    text = "\n".join(lines)
    return re.sub(r"(?<!\n)\n(?![\n*-])", " ", text).strip()


def summary(comment: str) -> str:
    """The first sentence."""
    first = comment.partition("\n")[0]
    return re.split(r"(?<=[.:;]) (?=[A-Z])", first, maxsplit=1)[0].rstrip(".:;")


def join(*parts: str) -> str:
    """Paragraphs, without the empty ones."""
    return "\n\n".join(part for part in parts if part)
