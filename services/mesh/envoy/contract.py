"""Reads the contracts' descriptor set: which rpcs there are, over which REST paths, and which need no token.

It reads options through a descriptor pool of its own, so it needs no generated stub, and a test may bring any contract.
What Envoy makes of it is in routes.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HTTP_EXTENSION = "google.api.http"
ACCESS_EXTENSION = "tillmesh.common.v1.access"
ERROR_INFO = "google.rpc.ErrorInfo"
REST_PREFIX = "/v1/"
READ_PREFIXES = ("Get", "List", "Search", "BatchGet", "BatchResolve", "Summarize")


class ContractError(Exception):
    """The descriptor set cannot be served: the message says which rpc, and why."""


@dataclasses.dataclass(frozen=True)
class Binding:
    """One REST form of an rpc."""

    method: str
    """GET, POST, …"""
    template: str
    """The path as google.api.http has it, e.g. `/v1/orders/{order_id}`."""

    @property
    def regex(self) -> str:
        """An RE2 expression that the path of a request (without its query) matches as a whole."""
        return path_regex(self.template)


@dataclasses.dataclass(frozen=True)
class Rpc:
    """One method of one service."""

    service: str
    """Full name, e.g. `tillmesh.inventory.v1.InventoryService`."""
    name: str
    client_streaming: bool
    server_streaming: bool
    public: bool
    """May be called without a token."""
    bindings: tuple[Binding, ...]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def streams(self) -> bool:
        return self.client_streaming or self.server_streaming

    @property
    def is_watch(self) -> bool:
        """A server stream that a browser may open with EventSource, which cannot set headers."""
        return self.server_streaming and not self.client_streaming and self.name.startswith("Watch")

    @property
    def is_read(self) -> bool:
        """Changes nothing, so it may be sent twice."""
        return self.name.startswith(READ_PREFIXES)


def load(descriptor: Path, owners: Sequence[str]) -> tuple[Rpc, ...]:
    """The rpcs of the packages tillmesh.<owner>.v1, in the order of the contracts.

    Raises ContractError when a REST path lies outside /v1/ (the token rules would not see it), or when the types of
    error details are missing (Envoy would answer an empty body).
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    try:
        pool.FindMessageTypeByName(ERROR_INFO)
    except KeyError:
        raise ContractError(f"{descriptor}: no {ERROR_INFO}; include google/rpc/error_details.proto") from None
    packages = [f"tillmesh.{owner}.v1" for owner in owners]
    chosen = [file for package in packages for file in files.file if file.package == package]
    rpcs = tuple(rpc for file in chosen for rpc in _rpcs(file, pool))
    for rpc in rpcs:
        for binding in rpc.bindings:
            if not binding.template.startswith(REST_PREFIX):
                raise ContractError(f"{rpc.path}: REST path {binding.template} is not below {REST_PREFIX}")
    return rpcs


def path_regex(template: str) -> str:
    """The RE2 expression of a google.api.http path template; like the transcoder, it allows a slash at the end."""
    parts = re.findall(r"\{[^}]*\}|\*\*|\*|[^{*]+", template)
    return "".join(_part_regex(part) for part in parts) + "/?"


def _part_regex(part: str) -> str:
    if part == "*":
        return "[^/]+"
    if part == "**":
        return ".*"
    if part.startswith("{"):
        _, _, pattern = part[1:-1].partition("=")
        return path_regex(pattern or "*").removesuffix("/?")
    return re.escape(part)


def _rpcs(file: descriptor_pb2.FileDescriptorProto, pool: descriptor_pool.DescriptorPool) -> Iterator[Rpc]:
    for service in file.service:
        for method in service.method:
            options = _options(method.options, pool)
            yield Rpc(
                service=f"{file.package}.{service.name}",
                name=method.name,
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
                public=_is_public(options, pool),
                bindings=tuple(_bindings(options, pool)),
            )


def _options(options: descriptor_pb2.MethodOptions, pool: descriptor_pool.DescriptorPool) -> Any:
    """The same options, parsed where the extensions of this contract are known."""
    known = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    return known.FromString(options.SerializeToString())


def _extension(options: Any, pool: descriptor_pool.DescriptorPool, name: str) -> Any | None:
    try:
        extension = pool.FindExtensionByName(name)
    except KeyError:
        return None
    return options.Extensions[extension] if options.HasExtension(extension) else None


def _is_public(options: Any, pool: descriptor_pool.DescriptorPool) -> bool:
    access = _extension(options, pool, ACCESS_EXTENSION)
    return access is not None and bool(access.public)


def _bindings(options: Any, pool: descriptor_pool.DescriptorPool) -> Iterator[Binding]:
    http = _extension(options, pool, HTTP_EXTENSION)
    if http is None:
        return
    for rule in (http, *http.additional_bindings):
        kind = rule.WhichOneof("pattern")
        if kind == "custom":
            yield Binding(rule.custom.kind, rule.custom.path)
        elif kind is not None:
            yield Binding(kind.upper(), getattr(rule, kind))
