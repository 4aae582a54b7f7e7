"""HTTP's conventions for rpcs: idempotency keys, conditional requests, resuming, and statuses of successes.

Envoy passes HTTP headers on as metadata, so native gRPC callers may send the same. Headers fill request fields, and the
rest of the code knows only the fields:

- `idempotency-key: K` (or `"K"`) fills request_id.
- `if-match: "3"` (or `W/"3"`, `3`) fills expected_version; `*` leaves it at 0, whatever it is.
- `last-event-id: T` fills resume_token and wins over it: a browser that reconnects repeats the address it began with.
- Over REST, an answer with a version carries `etag: W/"3"` (weak: the bytes may differ); `if-none-match` on a Get turns
  it into 304.

A header and a field that say different things are INVALID_REQUEST.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from services.kit import validation
from services.kit.interceptors import methods

Headers = Mapping[str, str | bytes]

IDEMPOTENCY_KEY: Final = "idempotency-key"
IF_MATCH: Final = "if-match"
IF_NONE_MATCH: Final = "if-none-match"
LAST_EVENT_ID: Final = "last-event-id"
#: Set by Envoy's transcoder: the call came over REST.
REST_MARK: Final = "x-envoy-original-path"
HTTP_STATUS: Final = "x-http-status"
_VERSION = re.compile(r'(?:W/)?"?([0-9]{1,18})"?')
_WEAK = re.compile(r'(?:W/)?"([^"]*)"')


def fill(request: Any, headers: Headers, method: methods.Method) -> None:
    """Fills request fields from headers. InvalidRequest when they contradict each other or can't be read."""
    if method.takes_request_id and (key := headers.get(IDEMPOTENCY_KEY)):
        _fill_request_id(request, str(key))
    if method.takes_expected_version and (match := headers.get(IF_MATCH)):
        _fill_expected_version(request, str(match).strip())
    if method.takes_resume_token and (event_id := headers.get(LAST_EVENT_ID)):
        request.resume_token = str(event_id)


def _fill_request_id(request: Any, header: str) -> None:
    key = header[1:-1] if len(header) > 2 and header[0] == header[-1] == '"' else header
    if not request.request_id:
        request.request_id = key
    elif request.request_id != key:
        raise validation.invalid("request_id", f"is not the same as the header {IDEMPOTENCY_KEY}")


def _fill_expected_version(request: Any, header: str) -> None:
    if header == "*":
        return
    found = _VERSION.fullmatch(header)
    if found is None:
        raise validation.invalid("expected_version", f"the header {IF_MATCH} is not one version")
    version = int(found[1])
    if not request.expected_version:
        request.expected_version = version
    elif request.expected_version != version:
        raise validation.invalid("expected_version", f"is not the same as the header {IF_MATCH}")


def answer_headers(response: Any, headers: Headers, method: methods.Method) -> list[tuple[str, str]]:
    """Headers of a successful answer over REST."""
    sent: list[tuple[str, str]] = []
    version = response.version if method.answers_version else 0
    if version:
        sent.append(("etag", f'W/"{version}"'))
    if version and method.is_get and _matches(str(headers.get(IF_NONE_MATCH, "")), version):
        sent.append((HTTP_STATUS, "304"))
    elif method.success_status:
        sent.append((HTTP_STATUS, str(method.success_status)))
    return sent


def _matches(header: str, version: int) -> bool:
    """Whether If-None-Match names the version, by the weak comparison of RFC 9110."""
    return header.strip() == "*" or str(version) in _WEAK.findall(header)
