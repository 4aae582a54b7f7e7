"""Streams of JetStream and publishing to them. The stream is a delivery cache: PostgreSQL keeps the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import nats.errors
import nats.js.errors
from nats.js import api

from services.kit import broker, subjects

AGE_SECONDS_MAX: Final = 7 * 24 * 3600  # as long as the outbox is kept
BYTES_MAX: Final = 2 * 1024**3
DUPLICATE_SECONDS: Final = 120.0  # a relay that dies between publish and mark is replaced within seconds
PUBLISH_SECONDS_MAX: Final = 2.0
_NAME_IN_USE: Final = 10058  # the stream exists with another configuration
_TOO_LARGE: Final = 10054


class Unpublishable(Exception):
    """The server will never take this message, however often it is sent."""


class Publisher(Protocol):
    """Where the relay publishes."""

    @property
    def connected(self) -> bool:
        """Whether publishing makes sense now."""
        ...

    async def wait_connected(self) -> None:
        """Returns once it does."""

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Returns once the stream has stored the message, or had it already.

        Unpublishable when it never will; any other exception means that it may or may not be stored.
        """

    async def ensure_stream(self) -> None:
        """Makes the stream if there is none."""


class JetStreamPublisher:
    """Publishes a service's events to its stream."""

    def __init__(
        self, connection: broker.Broker, service: str, *, bytes_max: int = BYTES_MAX, replicas: int = 1
    ) -> None:
        """replicas: 3 on a cluster."""
        self._broker = connection
        self._service = service
        self._bytes_max = bytes_max
        self._replicas = replicas

    @property
    def connected(self) -> bool:
        """Whether the server answers."""
        return self._broker.connected

    async def wait_connected(self) -> None:
        """Returns once the server answers."""
        await self._broker.wait_connected()

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Returns once the stream has it. No sequential js.publish: many of these run at once on one subscription."""
        if not self._broker.connected:  # else it would wait in the client's buffer and overtake a later decision
            raise nats.errors.ConnectionClosedError
        try:
            acknowledged = await self._broker.jetstream.publish_async(subject, data, headers=dict(headers))
            async with asyncio.timeout(PUBLISH_SECONDS_MAX):
                await acknowledged
        except nats.errors.MaxPayloadError as error:
            raise Unpublishable(f"{len(data)} bytes are more than the server takes") from error
        except nats.js.errors.APIError as error:
            if error.err_code == _TOO_LARGE:
                raise Unpublishable(f"{len(data)} bytes are more than the stream takes") from error
            raise

    async def ensure_stream(self) -> None:
        """Makes or updates the service's stream."""
        await ensure_stream(self._broker.jetstream, self._service, bytes_max=self._bytes_max, replicas=self._replicas)


async def ensure_stream(
    jetstream: nats.js.JetStreamContext, service: str, *, bytes_max: int = BYTES_MAX, replicas: int = 1
) -> None:
    """Makes a service's stream, or brings it to this configuration. Only the owner may."""
    configuration = api.StreamConfig(
        name=subjects.stream(service),
        subjects=[subjects.of_service(service)],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=AGE_SECONDS_MAX,
        max_bytes=bytes_max,
        duplicate_window=DUPLICATE_SECONDS,
        num_replicas=replicas,
    )
    try:
        await jetstream.add_stream(configuration)
    except nats.js.errors.BadRequestError as error:
        if error.err_code != _NAME_IN_USE:
            raise
        await jetstream.update_stream(configuration)


async def ensure_consumer(jetstream: nats.js.JetStreamContext, stream: str, durable: str, **settings: Any) -> None:
    """Makes or updates a pull consumer. NotFoundError while its owner hasn't made the stream."""
    await jetstream.add_consumer(
        stream,
        api.ConsumerConfig(
            durable_name=durable,
            name=durable,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            max_deliver=-1,  # the inbox decides when to give up, and keeps what it gave up on
            **settings,
        ),
    )
