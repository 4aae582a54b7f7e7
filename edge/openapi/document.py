"""Operations, responses and security, put together into the document."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from edge.openapi import own_paths, routes, schemas, source

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor

_CREATED_PREFIXES = ("Create", "Reserve", "Record")
_READ_PREFIXES = ("Get", "List", "Search", "BatchGet", "BatchResolve", "Watch")
_BODY_BYTES_MAX = 8 * 2**20
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
_LIMITS = {
    f"X-RateLimit-{name}": {"schema": {"type": "string"}, "description": f"The {name.lower()} of the caller's budget."}
    for name in ("Limit", "Remaining", "Reset")
}
_ERRORS: dict[str, tuple[str, str]] = {
    "400": ("Invalid", "A field breaks a rule of the contract, or the request can't be read."),
    "401": ("Unauthenticated", "No token, or one that doesn't verify."),
    "403": ("Forbidden", "The token lacks the role, the scope or the location."),
    "404": ("NotFound", "No such resource, for this caller."),
    "409": ("Conflict", "The state of things doesn't allow it; the reason says why."),
    "412": ("PreconditionFailed", "The version in If-Match is not the current one."),
    "413": ("TooLarge", f"The body is larger than {_BODY_BYTES_MAX // 2**20} MiB."),
    "422": ("KeyReused", "The idempotency key was used with another request."),
    "429": ("TooMany", "Too many requests."),
    "503": ("Unavailable", "A part that is needed doesn't answer; try again."),
    "default": ("Error", "Any other error, in the same shape."),
}
_ALWAYS = ("400", "404", "429", "503", "default")

_INFO = """The REST surface of Tillmesh, transcoded from the same contracts as its gRPC services.

Names are the contract's (snake_case), 64-bit integers are strings, enums are names, times are RFC 3339. Every error \
has one shape, `google.rpc.Status`; switch on the reason of its ErrorInfo.

Lists take `page_size` and `page_token`. Writes take an idempotency key: `request_id` in the body or the \
`Idempotency-Key` header."""


def build(descriptor_set: bytes) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a serialised FileDescriptorSet, which should carry source info for its texts.

    The same input gives the same document. Raises ValueError when two rpcs claim one method and path, or a
    rule can't be served.
    """
    return _Document(source.Source(descriptor_set)).build()


class _Document:
    def __init__(self, contract: source.Source) -> None:
        self._source = contract
        self._schemas = schemas.Schemas(contract)
        self._paths: dict[str, dict[str, Any]] = {}
        self._tags: list[dict[str, str]] = []
        self._shapes: dict[str, str] = {}

    def build(self) -> dict[str, Any]:
        for service in self._source.services():
            self._add_service(service)
        status = self._status_reference()
        components = {
            "schemas": dict(sorted(self._schemas.components.items())),
            "responses": {name: _error(text, status, code) for code, (name, text) in _ERRORS.items()},
            "securitySchemes": own_paths.security_schemes(),
        }
        return {
            "openapi": "3.1.0",
            "info": {"title": "Tillmesh", "version": "v1", "description": _INFO, "license": _LICENSE},
            "servers": [{"url": "/"}],
            "tags": [*self._tags, own_paths.TAG],
            "paths": dict(sorted({**self._paths, **own_paths.paths()}.items())),
            "components": components,
        }

    def _status_reference(self) -> schemas.Schema:
        """google.rpc.Status, also in a set that doesn't contain it."""
        self._schemas.components[schemas.STATUS] = self._schemas.status()
        return {"$ref": f"#/components/schemas/{schemas.STATUS}"}

    def _add_service(self, service: ServiceDescriptor) -> None:
        exposed = [(method, routes.bindings(self._source, method)) for method in service.methods]
        if not any(found for _, found in exposed):
            return
        tag = service.name.removesuffix("Service")
        self._tags.append({"name": tag, "description": self._source.comment(service)})
        for method, found in exposed:
            for binding in found:
                self._add_operation(method, binding, tag)

    def _add_operation(self, method: MethodDescriptor, binding: routes.Binding, tag: str) -> None:
        # OpenAPI takes one set of names for a path; two rpcs may bind different fields of theirs to it.
        shared = dataclasses.replace(binding, path=self._shapes.setdefault(binding.shape, binding.path))
        item = self._paths.setdefault(shared.path, {})
        if binding.verb in item:
            raise ValueError(f"{method.full_name}: {binding.verb} {binding.path} is taken")
        item[binding.verb] = _Operation(self._source, self._schemas, method, shared, tag).build()


class _Operation:
    def __init__(
        self,
        contract: source.Source,
        known: schemas.Schemas,
        method: MethodDescriptor,
        binding: routes.Binding,
        tag: str,
    ) -> None:
        self._source = contract
        self._schemas = known
        self._method = method
        self._binding = binding
        self._tag = tag
        self._request = method.input_type
        self._access = contract.option(method, source.ACCESS)
        self._is_write = binding.verb != "get" and not method.name.startswith(_READ_PREFIXES)

    def build(self) -> dict[str, Any]:
        comment = self._source.comment(self._method)
        name = f"{self._method.containing_service.name}_{self._method.name}"
        operation: dict[str, Any] = {
            "operationId": name if self._binding.number == 0 else f"{name}_{self._binding.number + 1}",
            "tags": [self._tag],
            "summary": source.summary(comment) or self._method.name,
            "description": source.join(comment, self._access_text()),
            "parameters": self._parameters(),
        }
        body = self._body()
        if body is not None:
            operation["requestBody"] = body
        operation["responses"] = self._responses()
        operation["security"] = self._security()
        operation["x-tillmesh-rpc"] = self._method.full_name
        if self._access is not None:
            operation["x-tillmesh-access"] = self._access_rule()
        if self._method.server_streaming:
            operation["x-tillmesh-stream"] = True
        if self._method.GetOptions().deprecated:
            operation["deprecated"] = True
        return operation

    # --- access

    def _access_rule(self) -> dict[str, Any]:
        """The rule as data; role names as they stand in tokens."""
        rule = self._access
        roles = rule.DESCRIPTOR.fields_by_name["roles"].enum_type.values_by_number
        fields = {
            "public": rule.public,
            "roles": [roles[number].name.removeprefix("ROLE_").lower() for number in rule.roles],
            "scopes": list(rule.scopes),
            "location_fields": list(rule.location_fields),
            "owner_field": rule.owner_field,
            "services": list(rule.services),
        }
        return {name: value for name, value in fields.items() if value}

    def _access_text(self) -> str:
        if self._access is None:
            return ""
        rule = self._access_rule()
        if rule.get("public"):
            return "Access: public."
        parts = [
            f"{word} {', '.join(f'`{value}`' for value in rule[name])}"
            for name, word in (("roles", "one of the roles"), ("scopes", "the scopes"))
            if name in rule
        ]
        return f"Access: {'; '.join(parts)}." if parts else "Access: nobody."

    def _security(self) -> list[dict[str, list[str]]]:
        if self._access is not None and self._access.public:
            return []
        scopes = list(self._access.scopes) if self._access is not None else []
        ways: list[dict[str, list[str]]] = [{"oauth2": scopes}, {"bearer": []}]
        return [*ways, {"accessToken": []}] if self._method.server_streaming else ways

    # --- request

    def _parameters(self) -> list[dict[str, Any]]:
        named = zip(self._binding.variables, self._binding.labels, strict=True)
        path = [self._path_parameter(field, label) for field, label in named]
        query = [self._query_parameter(*each) for each in routes.query_fields(self._request, self._binding)]
        return [*path, *query, *self._header_parameters()]

    def _path_parameter(self, path: str, label: str) -> dict[str, Any]:
        schema = self._schemas.field(routes.field_at(self._request, path))
        many = " May contain slashes." if path in self._binding.many_segments else ""
        description = schema.pop("description", "") + many
        schema.pop("readOnly", None)
        return {"name": label, "in": "path", "required": True, "description": description.strip(), "schema": schema}

    def _query_parameter(self, name: str, field: FieldDescriptor) -> dict[str, Any]:
        schema = self._schemas.field(field)
        parameter: dict[str, Any] = {"name": name, "in": "query", "description": schema.pop("description", "")}
        # A field of a nested message is only checked when something of that message is sent.
        if "." not in name and self._schemas.is_required(field):
            parameter["required"] = True
        if field.is_repeated:
            parameter |= {"style": "form", "explode": True}
        if schema.pop("deprecated", False):
            parameter["deprecated"] = True
        return parameter | {"schema": schema}

    def _header_parameters(self) -> list[dict[str, Any]]:
        fields = self._request.fields_by_name
        headers = []
        if self._is_write and "request_id" in fields:
            text = "Idempotency key, the same as `request_id`: a repeat returns the first answer and changes nothing."
            headers.append(_header("Idempotency-Key", text, {"type": "string", "maxLength": 128}))
        if self._is_write and "expected_version" in fields:
            text = "The version that is edited, the same as `expected_version`; 412 when it is not the current one."
            headers.append(_header("If-Match", text, {"type": "string"}))
        if self._method.server_streaming:
            text = "The id of the last event seen: the stream goes on right after it. EventSource sends it by itself."
            headers.append(_header("Last-Event-ID", text, {"type": "string"}))
        return headers

    def _body(self) -> dict[str, Any] | None:
        if not self._binding.body:
            return None
        if self._binding.body != "*":
            field = routes.field_at(self._request, self._binding.body)
            if field.message_type is not None and field.message_type.full_name == schemas.HTTP_BODY:
                return {"required": True, "content": {"*/*": {"schema": self._schemas.field(field)}}}
            return _json_body(self._schemas.field(field), required=True)
        bound = [name for name in self._binding.variables if "." not in name]
        schema = self._schemas.object(self._request, bound) if bound else self._schemas.message(self._request)
        if self._method.client_streaming:
            schema = {"type": "array", "items": schema}
        return _json_body(schema, required=True)

    # --- responses

    def _success_status(self) -> str:
        rule = self._source.option(self._method, source.REST)
        if rule is not None and rule.success_status:
            return str(rule.success_status)
        return "201" if self._is_write and self._method.name.startswith(_CREATED_PREFIXES) else "200"

    def _responses(self) -> dict[str, Any]:
        codes = [*_ALWAYS]
        if self._access is None or not self._access.public:
            codes += ["401", "403"]
        if self._is_write:
            codes += ["409", "413"]
        if self._is_write and "request_id" in self._request.fields_by_name:
            codes.append("422")
        if self._is_write and "expected_version" in self._request.fields_by_name:
            codes.append("412")
        errors = {code: {"$ref": f"#/components/responses/{_ERRORS[code][0]}"} for code in sorted(codes)}
        return {self._success_status(): self._success(), **errors}

    def _success(self) -> dict[str, Any]:
        output = self._method.output_type
        schema = self._schemas.message(output)
        if output.full_name == schemas.HTTP_BODY:
            return {"description": "The content.", "content": {"*/*": {"schema": schema}}}
        description = self._source.comment(output) or "Done."
        if not self._method.server_streaming:
            return {"description": description, "content": {"application/json": {"schema": schema}}}
        events = {"type": "string", "description": "Server-sent events; the data of each is one frame as JSON."}
        return {
            "description": source.join(description, "One frame a line, or server-sent events by the Accept header."),
            "content": {
                "application/json": {"schema": schema},
                "text/event-stream": {"schema": events | {"x-tillmesh-event": schema}},
            },
        }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def _header(name: str, description: str, schema: schemas.Schema) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _json_body(schema: schemas.Schema, required: bool) -> dict[str, Any]:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _error(text: str, status: schemas.Schema, code: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": text, "content": {"application/json": {"schema": status}}}
    headers = {"429": _RETRY_AFTER | _LIMITS, "503": _RETRY_AFTER}.get(code)
    return response | ({"headers": headers} if headers else {})
