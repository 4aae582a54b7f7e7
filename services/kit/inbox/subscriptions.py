"""What a consumer subscribes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.kit import subjects
from services.kit.inbox import effects, owners


def _every_key(_key: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Subscription:
    """One consumer of one source.

    Positions run through all events of a key, so a consumer takes all event types of the keys that it takes, and its
    effect passes over those it has no use for. types and keys narrow it to whole families of keys: name all types of
    those families in types, and admit exactly their keys in keys (reconciliation has only keys to go by).
    """

    consumer: str
    """Name of the cursor, and the first half of the durable's: usually the consuming service."""
    source: str
    """The service whose events they are."""
    effect: effects.Effect
    owner: owners.Owner
    types: tuple[str, ...] = ()
    """Full names of event messages; none: all."""
    keys: Callable[[str], bool] = _every_key
    skip_lost: bool = False
    """When events are needed that the owner no longer keeps: True goes on with what it has, False: dead letter."""

    @property
    def durable(self) -> str:
        """Name of the consumer on the stream."""
        return subjects.durable(self.consumer, self.source)

    @property
    def stream(self) -> str:
        """Name of the source's stream."""
        return subjects.stream(self.source)
