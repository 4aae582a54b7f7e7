"""A pull consumer: asks for batches and hands each message over as it arrives.

nats-py's fetch(batch=n) waits for the whole batch or its timeout, which is either latency or polling; this asks for a
batch that stays open, and takes what comes. One request is open at a time. Heartbeats tell a quiet stream from a lost
one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
import nats.js.errors
import structlog
from nats.aio import client as nats_client
from nats.aio import msg as nats_msg
from nats.aio import subscription as nats_subscription

from services.kit import broker, streams, subjects
from services.kit.inbox import subscriptions

log = structlog.get_logger()

BATCH: Final = 256
OPEN_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 2.5
RETRY_SECONDS_MAX: Final = 2.0
_NANOSECONDS: Final = 1_000_000_000


class ConsumerGone(Exception):
    """The server doesn't know the consumer: it lost its data, or somebody deleted it."""


class Puller:
    """The consumer of one subscription on its stream."""

    def __init__(
        self,
        connection: broker.Broker,
        subscription: subscriptions.Subscription,
        *,
        ack_wait_seconds: float,
        arrive: Callable[[nats_msg.Msg], None],
        room: Callable[[], Awaitable[int]],
    ) -> None:
        """Arrive takes a message and must not block; room returns how many more may come, once there is room."""
        self._broker = connection
        self._subscription = subscription
        self._ack_wait_seconds = ack_wait_seconds
        self._arrive = arrive
        self._room = room

    async def run(self) -> None:
        """Pulls until cancelled, across restarts of the server and before the stream exists."""
        failures = 0
        while True:
            await self._broker.wait_connected()
            try:
                await self._ensure()
                failures = 0
                await self._pull(self._broker.client)
            except (nats.errors.Error, ConsumerGone, TimeoutError, OSError) as error:
                failures += 1
                if failures == 3:
                    log.warning("inbox.waiting", consumer=self._subscription.durable, error=type(error).__qualname__)
                await asyncio.sleep(min(RETRY_SECONDS_MAX, 0.1 * 2**failures))

    async def undelivered(self) -> int:
        """How many messages of the stream this consumer has not been given yet."""
        wanted = self._subscription
        info = await self._broker.jetstream.consumer_info(wanted.stream, wanted.durable, timeout=2)
        return int(info.num_pending or 0)

    async def _ensure(self) -> None:
        wanted = self._subscription
        filters = subjects.filters(wanted.types)
        await streams.ensure_consumer(
            self._broker.jetstream,
            wanted.stream,
            wanted.durable,
            ack_wait=self._ack_wait_seconds,
            max_ack_pending=4 * BATCH,
            filter_subjects=filters or None,
        )

    async def _pull(self, client: nats_client.Client) -> None:
        inbox = client.new_inbox()
        arrivals = await client.subscribe(inbox)
        wanted = self._subscription
        ask = f"$JS.API.CONSUMER.MSG.NEXT.{wanted.stream}.{wanted.durable}"
        try:
            while client is self._broker.client:
                batch = min(BATCH, await self._room())
                request = {
                    "batch": batch,
                    "expires": int(OPEN_SECONDS * _NANOSECONDS),
                    "idle_heartbeat": int(HEARTBEAT_SECONDS * _NANOSECONDS),
                }
                await client.publish(ask, json.dumps(request).encode(), reply=inbox)
                await self._receive(arrivals, batch)
        finally:
            with contextlib.suppress(Exception):
                await arrivals.unsubscribe()

    async def _receive(self, arrivals: nats_subscription.Subscription, batch: int) -> None:
        """Takes what comes until the request is used up or ended."""
        while batch > 0:
            try:
                message = await arrivals.next_msg(timeout=SILENCE_SECONDS)
            except nats.errors.TimeoutError:
                return  # the request was lost with a connection; a double one does no harm
            code = (message.headers or {}).get("Status") if not message.data else None
            if code is None:
                batch -= 1
                self._arrive(message)
            elif code == "503":
                raise ConsumerGone
            elif code == "409":
                description = (message.headers or {}).get("Description", "")
                if "Consumer Deleted" in description or "Consumer is push" in description:
                    raise ConsumerGone
                await asyncio.sleep(HEARTBEAT_SECONDS / 10)  # leadership changes, limits: ask again
                return
            elif code != "100":  # 404 and 408: nothing came in time
                return
