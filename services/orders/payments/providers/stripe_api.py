"""Calls to Stripe's HTTP API, and what its answers mean for an operation. https://docs.stripe.com/api

The standard library's client: a payment is one or two calls, so a connection for each costs little.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import structlog

from services.orders.payments import port

log = structlog.get_logger()

URL: Final = "https://api.stripe.com"
VERSION: Final = "2025-08-27.basil"
"""Answers have the shape of this version whatever the account's default is (docs.stripe.com/api/versioning)."""
SECONDS: Final = 9.0
"""Of one call; less than operations.ANSWER_SECONDS."""
CALLS_AT_ONCE: Final = 16
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_NO_ANSWER: Final = frozenset({401, 403, 409, 429})
"""Nothing is known from these: a wrong key of ours, the same request under way, too many requests."""


class Api:
    """One account. api_key is its secret key."""

    def __init__(self, api_key: str, url: str = URL) -> None:
        self._key = api_key
        self._url = urlsplit(url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._threads = concurrent.futures.ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="stripe")

    def close(self) -> None:
        """Ends no call: they end by themselves within seconds."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Reads. NoAnswer; Refused."""
        return await self._call("GET", f"{path}?{urlencode(query)}" if query else path, "", {})

    async def post(self, path: str, form: Mapping[str, str], key: str) -> dict[str, Any]:
        """Changes something, once for a key. NoAnswer: perhaps; Refused: no."""
        return await self._call("POST", path, urlencode(form), {"Idempotency-Key": key})

    async def _call(self, method: str, path: str, form: str, headers: Mapping[str, str]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        try:
            status, body = await loop.run_in_executor(self._threads, self._exchange, method, path, form, headers)
            answer = json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise port.NoAnswer(type(error).__name__) from error
        if not isinstance(answer, dict):
            raise port.NoAnswer("no object")
        if status == 200:
            return answer
        raise _failure(status, answer)

    def _exchange(self, method: str, path: str, form: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            sent = {
                "Authorization": f"Bearer {self._key}",
                "Stripe-Version": VERSION,
                "User-Agent": "tillmesh",
                **({"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}),
                **headers,
            }
            connection.request(method, path, form or None, sent)
            response = connection.getresponse()
            return response.status, response.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, number = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, number, timeout=SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, number, timeout=SECONDS)


def _failure(status: int, answer: Mapping[str, Any]) -> Exception:
    """docs.stripe.com/error-handling: 402 is a decline; other 4xx are our mistakes or a state that forbids it."""
    told = answer.get("error")
    error: Mapping[str, Any] = told if isinstance(told, dict) else {}
    kind = error.get("type")
    log.warning("stripe.refused", status=status, type=kind, code=error.get("code"))
    # An idempotency_error says that the key was used for something else: what became of that isn't said.
    if status in _NO_ANSWER or status >= 500 or status < 400 or kind == "idempotency_error":
        return port.NoAnswer(str(status))
    return port.Refused(str(error.get("decline_code") or error.get("code") or "invalid_request"))
