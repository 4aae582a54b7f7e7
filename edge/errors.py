"""The one error shape (google.rpc.Status as JSON) for what the edge itself refuses.

Errors of the token endpoint have the shape of RFC 6749 instead, and stand in `edge.oauth`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

# HTTP status -> gRPC code and reason, as in the table of the contract's ErrorReason.
_BY_STATUS = {
    400: (3, "EDGE_MALFORMED"),
    404: (5, "EDGE_NOT_FOUND"),
    405: (5, "EDGE_NOT_FOUND"),
    413: (11, "EDGE_TOO_LARGE"),
    500: (13, "EDGE_INTERNAL"),
    503: (14, "EDGE_UNAVAILABLE"),
}

log = structlog.get_logger(__name__)


def response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as every door of the mesh answers it."""
    code, reason = _BY_STATUS.get(status, _BY_STATUS[500])
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "tillmesh",
        "metadata": {},
    }
    content = {"code": code, "message": message, "details": [info]}
    return JSONResponse(content, status_code=status, headers={"cache-control": "no-store", **(headers or {})})


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    return response(error.status_code, error.detail, dict(error.headers or {}))


async def on_defect(request: Request, error: Exception) -> Response:
    """A defect: logged whole, told to the caller without any of it."""
    log.error("request.failed", path=request.url.path, exc_info=error)
    return response(500, "The edge failed; its log has the cause.")
