"""Names on NATS: shards, subjects, streams, durables. Nothing here talks to a server."""

from __future__ import annotations

import functools
import re
import zlib
from typing import Final

SHARDS: Final = 64
# One token of a subject: NATS splits at dots and gives `*`, `>` and white space a meaning.
_UNSAFE = re.compile(r"[^A-Za-z0-9_:-]")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def shard(key: str) -> int:
    """The shard of a key, 0 to 63: CRC-32 of its UTF-8 bytes, modulo 64.

    The relay's unit of ownership and the last token of a subject. Stored in outbox rows and in subjects, so it never
    changes. Python's own hash() differs between processes and is no substitute.
    """
    return zlib.crc32(key.encode()) % SHARDS


@functools.lru_cache(maxsize=1024)
def snake(name: str) -> str:
    """`StockChanged` -> `stock_changed`, `SKUChanged` -> `sku_changed`."""
    return _HUMPS.sub("_", name).lower()


@functools.lru_cache(maxsize=1024)
def prefix(type_name: str) -> str:
    """What all subjects of an event type begin with: `tillmesh.inventory.v1.stock_changed`.

    type_name: full name of the message, `tillmesh.inventory.v1.StockChanged`. ValueError for any other shape.
    """
    parts = type_name.split(".")
    if len(parts) != 4 or parts[0] != "tillmesh" or not all(parts):
        raise ValueError(f"not the full name of an event: {type_name}")
    return ".".join((*parts[:3], snake(parts[3])))


def subject(type_name: str, tenant_id: str, shard_number: int) -> str:
    """Where an event is published. tenant_id: TypeID `ten_…`."""
    return f"{prefix(type_name)}.{token(tenant_id)}.{shard_number:02d}"


def filters(types: tuple[str, ...]) -> list[str]:
    """Subject filters that admit the event types; none: everything."""
    return [f"{prefix(name)}.>" for name in types]


def of_service(service: str) -> str:
    """All event subjects of a service: what its stream takes."""
    return f"tillmesh.{service}.v1.>"


def stream(service: str) -> str:
    """Name of a service's stream: INVENTORY, ORDERS, REVIEWS, MARKETING."""
    return service.upper()


def durable(consumer: str, source: str) -> str:
    """Name of a consumer on the stream of a source: `inventory--orders`."""
    return f"{consumer}--{source}"


def ping(service: str, tenant_id: str, key: str) -> str:
    """Core NATS subject (no stream) that says: something of this key was committed. Lossy; pollers stand behind it."""
    return f"tillmesh.ping.{service}.{token(tenant_id)}.{token(key)}"


def pings(service: str) -> str:
    """All ping subjects of a service."""
    return f"tillmesh.ping.{service}.*.*"


def parse_ping(name: str) -> tuple[str, str]:
    """(tenant_id, key) of a ping subject."""
    tenant_id, key = name.split(".", 4)[3:]
    return untoken(tenant_id), untoken(key)


def token(text: str) -> str:
    """One subject token; what a token can't hold is written as `=` and the hexadecimal code point, then `~`."""
    return _UNSAFE.sub(_escape, text)


def untoken(text: str) -> str:
    """The opposite of token."""
    return re.sub(r"=([0-9a-f]+)~", lambda found: chr(int(found[1], 16)), text) if "=" in text else text


def _escape(found: re.Match[str]) -> str:
    return f"={ord(found[0]):x}~"
