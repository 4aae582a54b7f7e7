"""Pings: "something of this key was committed", to whoever waits in this process or another. Lossy by design.

A ping carries nothing and grants nothing; every reader polls as well and reads the database for what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Final

from nats.aio import client as nats_client
from nats.aio import msg as nats_msg

from services.kit import broker, subjects

Listener = Callable[[str, str], None]
"""Called with (tenant TypeID, key). Must not block or raise."""
WAITING_MAX: Final = 10_000


class Pings:
    """Pings of one service, sent and heard."""

    def __init__(self, connection: broker.Broker | None, service: str) -> None:
        """Without a connection only listeners of this process hear."""
        self._broker = connection
        self._service = service
        self._listeners: list[Listener] = []
        self._waiting: dict[tuple[str, str], None] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Own pings come back from the server; local listeners have heard them already.
        self._process = secrets.token_bytes(8)

    async def start(self) -> None:
        """Hears pings of other processes from now on."""
        if self._broker is not None:
            await self._broker.on_client(self._subscribe)
            self._task = asyncio.create_task(self._send_waiting(), name="pings")

    async def stop(self) -> None:
        """Sends no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def listen(self, listener: Listener) -> None:
        """Adds a listener: called for pings of this process and of others."""
        self._listeners.append(listener)

    def send(self, tenant_id: str, key: str) -> None:
        """Says that something of the key was committed. Call it after the commit; never blocks, never fails."""
        for listener in self._listeners:
            listener(tenant_id, key)
        if self._task is not None and len(self._waiting) < WAITING_MAX:
            self._waiting[tenant_id, key] = None  # several commits of one key in one turn of the loop: one ping
            self._woken.set()

    async def _send_waiting(self) -> None:
        assert self._broker is not None
        while True:
            await self._woken.wait()
            self._woken.clear()
            waiting, self._waiting = self._waiting, {}
            if not self._broker.connected:
                continue
            with contextlib.suppress(Exception):  # a lost ping costs one poll interval
                for tenant_id, key in waiting:
                    await self._broker.client.publish(subjects.ping(self._service, tenant_id, key), self._process)

    async def _subscribe(self, client: nats_client.Client) -> None:
        await client.subscribe(subjects.pings(self._service), cb=self._heard)

    async def _heard(self, message: nats_msg.Msg) -> None:
        if message.data != self._process:
            tenant_id, key = subjects.parse_ping(message.subject)
            for listener in self._listeners:
                listener(tenant_id, key)
