"""Envoy's own answers in the shared error shape, from the table in envoy/replies.yaml.

REST callers get the JSON of google.rpc.Status. Native gRPC callers get the same as grpc-status, grpc-message and
grpc-status-details-bin; the latter is a constant a status, so its message cannot be Envoy's text about the request.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.mesh.envoy import template

DOMAIN = "tillmesh"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def mappers() -> list[dict[str, Any]]:
    """The local_reply_config mappers: two for each row of the table, the first that matches counts."""
    return [mapper for row in template.load("replies.yaml", {}) for mapper in (_rest(row), _native(row))]


def _rest(row: dict[str, Any]) -> dict[str, Any]:
    details: list[dict[str, Any]] = [
        {"@type": _ERROR_INFO, "reason": row["reason"], "domain": DOMAIN, "metadata": {}},
    ]
    if "retry_delay" in row:
        details.append({"@type": _RETRY_INFO, "retry_delay": row["retry_delay"]})
    body = {"code": row["code"], "message": row.get("message", "%LOCAL_REPLY_BODY%"), "details": details}
    return {
        "filter": {"and_filter": {"filters": [_status(row), {"or_filter": {"filters": [_TRANSCODED, _NOT_GRPC]}}]}},
        "body_format_override": {"content_type": "application/json", "json_format": body},
        **_as_status(row),
        **_retry_after(row),
    }


def _native(row: dict[str, Any]) -> dict[str, Any]:
    text = row.get("message", row.get("summary"))
    code = row.get("grpc_code", row["code"])
    status = status_pb2.Status(code=code, message=text, details=list(_packed(row)))
    encoded = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    added = [("grpc-status", str(code)), ("grpc-status-details-bin", encoded)]
    retry = _retry_after(row).get("headers_to_add", [])
    return {
        "filter": _status(row),
        "body": {"inline_string": text},
        **_as_status(row),
        "headers_to_add": [*map(_header, added), *retry],
    }


def _packed(row: dict[str, Any]) -> list[any_pb2.Any]:
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=row["reason"], domain=DOMAIN)]
    if "retry_delay" in row:
        delay = duration_pb2.Duration()
        delay.FromJsonString(row["retry_delay"])
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = [any_pb2.Any() for _ in details]
    for target, detail in zip(packed, details, strict=True):
        target.Pack(detail)
    return packed


def _header(pair: tuple[str, str]) -> dict[str, Any]:
    return {"header": {"key": pair[0], "value": pair[1]}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _retry_after(row: dict[str, Any]) -> dict[str, Any]:
    """The header that says what RetryInfo says, unless a filter has said it more exactly (the rate limits)."""
    if "retry_delay" not in row:
        return {}
    header = {"key": "retry-after", "value": row["retry_delay"].removesuffix("s")}
    return {"headers_to_add": [{"header": header, "append_action": "ADD_IF_ABSENT"}]}


def _as_status(row: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": row["as_status"]} if "as_status" in row else {}


def _status(row: dict[str, Any]) -> dict[str, Any]:
    exact = "status" in row
    value = {"default_value": row["status"] if exact else row["at_least"], "runtime_key": "none"}
    status = {"status_code_filter": {"comparison": {"op": "EQ" if exact else "GE", "value": value}}}
    return {"and_filter": {"filters": [status, _because(row["because"])]}} if "because" in row else status


def _because(text: str) -> dict[str, Any]:
    """Only where Envoy's own words for what went wrong hold the text."""
    kind = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    config = {"@type": kind, "expression": f"response.code_details.contains('{text}')"}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": config}}


# A transcoded request looks like gRPC by the time its upstream fails, so its first path is what tells it apart.
_TRANSCODED = {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}}
_NOT_GRPC = {
    "header_filter": {
        "header": {
            "name": "content-type",
            "string_match": {"prefix": "application/grpc"},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        }
    }
}
