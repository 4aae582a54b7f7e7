"""The one NATS connection of a process: opened in the background, kept for ever, drained at the end.

A service starts and sells without NATS; what needs it waits with `wait_connected`. Subjects and streams belong to
`subjects` and `streams`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import nats.errors
import nats.js
import structlog
from nats.aio import client as nats_client

from services.kit import settings

log = structlog.get_logger()

RECONNECT_SECONDS: Final = 0.25
# What may wait in the client while the server is away. The relay doesn't publish then, so this holds acks and pings.
PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
PUBLISHES_MAX: Final = 1024
DRAIN_SECONDS: Final = 3


class Broker:
    """A connection for life. `client` and `jetstream` may change when the server ended the old one for good."""

    def __init__(
        self, url: str, *, name: str, user: str = "", password_file: Path | None = None, inbox_prefix: str = "_INBOX"
    ) -> None:
        """password_file is read again at each connect, so that a password can be rotated."""
        self._url = url
        self._name = name
        self._user = user
        self._password_file = password_file
        self._inbox_prefix = inbox_prefix
        self._client: nats_client.Client | None = None
        self._jetstream: nats.js.JetStreamContext | None = None
        self._up = asyncio.Event()
        self._closed = asyncio.Event()
        self._stopping = False
        self._said = False
        self._task: asyncio.Task[None] | None = None
        self._on_client: list[Callable[[nats_client.Client], Awaitable[None]]] = []

    @classmethod
    def from_settings(cls, given: settings.ServiceSettings, service: str) -> Broker:
        """The broker of a service's process."""
        return cls(
            given.nats_url,
            name=service,
            user=given.nats_user,
            password_file=given.nats_password_file,
            # By the server's permissions a service reads only the inboxes under its own name.
            inbox_prefix=f"_INBOX.{given.nats_user}" if given.nats_user else "_INBOX",
        )

    def start(self) -> None:
        """Begins to connect; returns at once."""
        self._task = asyncio.create_task(self._keep(), name="broker")

    @property
    def password_file(self) -> Path | None:
        """Where the password is read from."""
        return self._password_file

    @property
    def connected(self) -> bool:
        """Whether the server answers now."""
        return self._up.is_set() and self._client is not None and self._client.is_connected

    async def wait_connected(self) -> None:
        """Returns once the server answers."""
        while not self.connected:
            await self._up.wait()
            if not self.connected:
                await asyncio.sleep(RECONNECT_SECONDS)

    @property
    def client(self) -> nats_client.Client:
        """The connection. ConnectionClosedError before the first connect."""
        if self._client is None:
            raise nats.errors.ConnectionClosedError
        return self._client

    @property
    def jetstream(self) -> nats.js.JetStreamContext:
        """JetStream on the connection."""
        if self._jetstream is None:
            raise nats.errors.ConnectionClosedError
        return self._jetstream

    async def on_client(self, callback: Callable[[nats_client.Client], Awaitable[None]]) -> None:
        """Calls back with each new client, the present one included: subscriptions survive reconnects, not clients."""
        self._on_client.append(callback)
        if self._client is not None:
            await callback(self._client)

    async def stop(self) -> None:
        """Handles what has arrived, sends what waits, closes."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._client.drain(), DRAIN_SECONDS)
            with contextlib.suppress(Exception):
                await self._client.close()
        self._up.clear()

    async def _keep(self) -> None:
        """Opens a client, and another when the server closed it for good (an error after which nats-py gives up)."""
        while True:
            self._closed.clear()
            client = nats_client.Client()
            await client.connect(servers=[self._url], **self._options())
            self._client = client
            self._jetstream = client.jetstream(publish_async_max_pending=PUBLISHES_MAX)
            for callback in self._on_client:
                with contextlib.suppress(
                    nats.errors.Error
                ):  # closed again meanwhile: the next client is called back too
                    await callback(client)
            self._mark_up()
            await self._closed.wait()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": self._name,
            "inbox_prefix": self._inbox_prefix,
            "connect_timeout": 2,
            "reconnect_time_wait": RECONNECT_SECONDS,
            "max_reconnect_attempts": -1,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "pending_size": PENDING_BYTES_MAX,
            "drain_timeout": DRAIN_SECONDS,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        if self._user:
            options |= {"user": self._user, "password": self._password}
        return options

    def _password(self) -> str:
        return self._password_file.read_text().strip() if self._password_file else ""

    def _mark_up(self) -> None:
        self._up.set()
        if self._said:
            log.info("nats.connected")
        self._said = False

    async def _on_error(self, error: Exception) -> None:
        """Said once until it is over; nats-py reports each attempt."""
        if not self._said and not self._stopping:
            self._said = True
            log.warning("nats.error", error=type(error).__qualname__, detail=str(error)[:200])

    async def _on_disconnected(self) -> None:
        self._up.clear()
        if not self._stopping and not self._said:
            self._said = True
            log.warning("nats.disconnected")

    async def _on_reconnected(self) -> None:
        self._mark_up()

    async def _on_closed(self) -> None:
        self._up.clear()
        self._closed.set()
