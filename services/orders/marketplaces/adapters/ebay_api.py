"""Calls to eBay's REST APIs for one seller, and what its answers mean.

Tokens: https://developer.ebay.com/api-docs/static/oauth-refresh-token-request.html
Errors: https://developer.ebay.com/develop/api/sell/error_codes and /api-docs/static/handling-error-messages.html
The Post-Order API is an older one, with its own error object and scheme of tokens:
https://developer.ebay.com/Devzone/post-order/concepts/MakingACall.html and /Devzone/post-order/ErrorResponse.html
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import datetime as dt
import email.utils
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import prometheus_client
import structlog

from services.orders.marketplaces import port

log = structlog.get_logger()

URL: Final = "https://api.ebay.com"
TOKEN_PATH: Final = "/identity/v1/oauth2/token"  # noqa: S105 - a path
SCOPES: Final = (
    "https://api.ebay.com/oauth/api_scope/sell.fulfillment",
    "https://api.ebay.com/oauth/api_scope/sell.inventory",
)
SECONDS: Final = 15.0
"""Of one call; with the calls before it less than listings.CLAIM."""
CALLS_AT_ONCE: Final = 4
SPACING_SECONDS: Final = 0.1
"""Between calls of one account: bursts are what eBay throttles."""
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
EARLY_SECONDS: Final = 120.0
"""A token is renewed so long before it ends."""
INVALID_TOKEN: Final = frozenset({1001, 1002, 1003})
"""The token is invalid, missing, of the wrong kind."""
CALLS = prometheus_client.Counter("tillmesh_marketplace_calls_total", "Calls to marketplaces.", ["kind", "status"])
Answer = tuple[int, dict[str, Any], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Account:
    """A seller's account, as our application has it."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    marketplace_id: str
    url: str = URL


class Api:
    """One account."""

    def __init__(self, account: Account, *, seconds: float = SECONDS) -> None:
        """seconds: how long an answer is waited for."""
        self._account = account
        self._seconds = seconds
        self._url = urlsplit(account.url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._threads = concurrent.futures.ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="ebay")
        self._token, self._token_until = "", 0.0
        self._renewing = asyncio.Lock()
        self._spacing = asyncio.Lock()
        self._skew: dt.timedelta | None = None

    def close(self) -> None:
        """Ends no call: they end by themselves within seconds."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def clock(self) -> dt.datetime:
        """EBay's clock, by the Date of its last answer."""
        if self._skew is None:
            await self._fresh_token()
        if self._skew is None:
            raise port.NoAnswer("no date")
        return dt.datetime.now(dt.UTC) + self._skew

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Reads."""
        return await self._call("GET", f"{path}?{urlencode(query)}" if query else path, None)

    async def post(self, path: str, body: Mapping[str, Any], *, scheme: str = "Bearer") -> dict[str, Any]:
        """Changes something. scheme: of the token; the Post-Order API wants IAF."""
        return await self._call("POST", path, json.dumps(body).encode(), scheme)

    async def _call(self, method: str, path: str, body: bytes | None, scheme: str = "Bearer") -> dict[str, Any]:
        status, answer, sent = await self._authorised(method, path, body, scheme)
        if status == 401:  # revoked before its time: another is asked for, once
            self._token_until = 0.0
            status, answer, sent = await self._authorised(method, path, body, scheme)
        if 200 <= status < 300:
            return answer
        raise _failure(status, answer, sent)

    async def _authorised(self, method: str, path: str, body: bytes | None, scheme: str) -> Answer:
        headers = {
            "Authorization": f"{scheme} {await self._fresh_token()}",
            "Accept": "application/json",
            "X-EBAY-C-MARKETPLACE-ID": self._account.marketplace_id,
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._exchange(method, path, body, headers)

    async def _fresh_token(self) -> str:
        """The access token, renewed with the seller's refresh token. LockedOut when that isn't good any more."""
        async with self._renewing:
            if time.monotonic() < self._token_until:
                return self._token
            of = self._account
            basic = base64.b64encode(f"{of.client_id}:{of.client_secret}".encode()).decode()
            form = {"grant_type": "refresh_token", "refresh_token": of.refresh_token, "scope": " ".join(SCOPES)}
            headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
            asked = time.monotonic()
            status, answer, sent = await self._exchange("POST", TOKEN_PATH, urlencode(form).encode(), headers)
            if status in (400, 401):  # RFC 6749 §5.2: invalid_grant, invalid_client, invalid_scope
                log.warning("ebay.locked_out", error=str(answer.get("error")))
                raise port.LockedOut(str(answer.get("error") or status))
            if status != 200:
                raise _failure(status, answer, sent)
            token, seconds = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str) or not isinstance(seconds, int):
                raise port.NoAnswer("no token")
            self._token, self._token_until = token, asked + max(0.0, seconds - EARLY_SECONDS)
            return token

    async def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        async with self._spacing:
            await asyncio.sleep(SPACING_SECONDS if self._tls is not None else 0)
        loop = asyncio.get_running_loop()
        status = 0
        try:
            status, raw, sent = await loop.run_in_executor(self._threads, self._send, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise port.NoAnswer(type(error).__name__) from error
        finally:
            CALLS.labels("ebay", str(status)).inc()
        return status, _object(status, raw), sent

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        connection = self._connection()
        try:
            connection.request(method, path, body, {"User-Agent": "tillmesh", **headers})
            response = connection.getresponse()
            sent = {name.lower(): value for name, value in response.getheaders()}
            self._note_clock(sent.get("date", ""))
            return response.status, response.read(ANSWER_BYTES_MAX), sent
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, number = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, number, timeout=self._seconds, context=self._tls)
        return http.client.HTTPConnection(host, number, timeout=self._seconds)

    def _note_clock(self, date: str) -> None:
        """Dates have whole seconds, cut off, so we are never ahead of eBay: it refuses times in its future."""
        told = _date(date)
        if told is not None:
            self._skew = told - dt.datetime.now(dt.UTC)


def _object(status: int, raw: bytes) -> dict[str, Any]:
    """An answer's object; of a failure, whatever stands between us and eBay may have answered."""
    try:
        answer = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        if status >= 400:
            return {}
        raise port.NoAnswer("no JSON") from error
    if isinstance(answer, dict):
        return answer
    raise port.NoAnswer("no object")


def _failure(status: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> Exception:
    """What an answer other than a success means."""
    found = errors_of(answer)
    code = str(found[0].get("errorId", status)) if found else str(status)
    log.warning("ebay.refused", status=status, code=code)
    if status == 429 or (status == 503 and "retry-after" in headers):
        return port.Throttled(_seconds(headers.get("retry-after", "")))
    if status == 401 or (found and found[0].get("errorId") in INVALID_TOKEN):
        return port.LockedOut(code)
    if 400 <= status < 500 and status not in (408, 425):
        return port.Refused(code)
    return port.NoAnswer(code)


def errors_of(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The errors of an answer: `errors`, of the Post-Order API `errorMessage.error`."""
    listed = answer.get("errors")
    if listed is None and isinstance(answer.get("errorMessage"), dict):
        listed = answer["errorMessage"].get("error")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _seconds(text: str) -> float | None:
    """RFC 9110 §10.2.3: seconds, or a date."""
    if text.strip().isdigit():
        return float(text)
    at = _date(text)
    return None if at is None else max(0.0, (at - dt.datetime.now(dt.UTC)).total_seconds())


def _date(text: str) -> dt.datetime | None:
    try:
        return email.utils.parsedate_to_datetime(text).astimezone(dt.UTC)
    except (TypeError, ValueError):
        return None
